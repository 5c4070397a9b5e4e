import { WatchedFile } from './watchedFile.ts';

/**
 * A secret in a file, read again when the file changes. A file that vanishes, becomes unreadable or becomes empty keeps
 * the last value: a rotation in two steps must not lock everyone out between them.
 */
export class SecretFile {
  readonly path: string;
  readonly #file: WatchedFile;
  readonly #changes = new Set<() => void>();
  readonly #problems = new Set<(problem: string) => void>();
  #bytes: Buffer;

  /**
   * Reads the secret now.
   * @param options.pollInterval milliseconds between looks, 1,000 by default
   * @throws Error with a sentence where the file can't be read or holds nothing
   */
  static open(path: string, options: { pollInterval?: number } = {}): SecretFile {
    return new SecretFile(path, options);
  }

  private constructor(path: string, options: { pollInterval?: number }) {
    this.path = path;
    this.#file = new WatchedFile(path, {
      ...options,
      changed: (bytes) => this.#changed(bytes),
      unreadable: (problem) => this.#problem(problem),
    });
    this.#bytes = withoutNewline(this.#file.bytes);
    if (this.#bytes.length === 0) {
      this.close();
      throw new Error(`${path} is empty: it should hold a secret`);
    }
  }

  /** The content without the newline at its end. */
  get text(): string {
    return this.#bytes.toString('utf8');
  }

  /** The content without the newline at its end. Not to be changed. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Calls `listener` after each change of the value, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#changes.add(listener);
    return () => this.#changes.delete(listener);
  }

  /** Calls `listener` with a sentence when the file became useless and the last value stays. */
  onProblem(listener: (problem: string) => void): () => void {
    this.#problems.add(listener);
    return () => this.#problems.delete(listener);
  }

  close(): void {
    this.#file.close();
    this.#changes.clear();
    this.#problems.clear();
  }

  #changed(content: Buffer): void {
    const bytes = withoutNewline(content);
    if (bytes.length === 0) {
      this.#problem(`${this.path} is empty`);
    } else if (!bytes.equals(this.#bytes)) {
      this.#bytes = bytes;
      for (const listener of this.#changes) listener();
    }
  }

  #problem(problem: string): void {
    for (const listener of this.#problems) listener(`${problem}: the last value stays in use`);
  }
}

function withoutNewline(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end--;
  if (bytes[end - 1] === 0x0d) end--;
  return bytes.subarray(0, end);
}
