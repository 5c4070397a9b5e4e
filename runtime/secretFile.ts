import { isUtf8 } from 'node:buffer';
import { WatchedFile } from './watchedFile.ts';

/** Limit of secrets in one file: each is tried at each check. */
const MAX_LINES = 1_000;

export type SecretFileOptions = {
  /** Milliseconds between two checks, 1,000 by default. */
  pollInterval?: number;
};

/**
 * A secret in a file, reloaded when the file changes. If the file is removed, unreadable or invalid, the last value stays in
 * use: a rotation in two steps must not lock all clients out meanwhile.
 */
export class SecretFile<T> {
  readonly path: string;
  readonly #file: WatchedFile;
  readonly #parse: (bytes: Buffer) => T;
  readonly #changes = new Set<() => void>();
  readonly #problems = new Set<(problem: string) => void>();
  #bytes: Buffer;
  #value: T;

  /**
   * Reads the secret now.
   * @param parse parses the content; throws an Error whose message follows the file's name ("is not a JWKS")
   * @throws Error with a sentence if the file cannot be read, is blank, or is refused by `parse`
   */
  static open<T>(path: string, parse: (bytes: Buffer) => T, options: SecretFileOptions = {}): SecretFile<T> {
    return new SecretFile(path, parse, options);
  }

  private constructor(path: string, parse: (bytes: Buffer) => T, options: SecretFileOptions) {
    this.path = path;
    this.#parse = parse;
    this.#file = new WatchedFile(path, {
      ...options,
      changed: (bytes) => this.#changed(bytes),
      unreadable: (problem) => this.#problem(problem),
    });
    this.#bytes = this.#file.bytes;
    try {
      this.#value = this.#read(this.#bytes);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get value(): T {
    return this.#value;
  }

  /** Calls `listener` after each change of the value, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#changes.add(listener);
    return () => this.#changes.delete(listener);
  }

  /** Calls `listener` with a sentence when the file cannot be used and the last value stays in use. */
  onProblem(listener: (problem: string) => void): () => void {
    this.#problems.add(listener);
    return () => this.#problems.delete(listener);
  }

  close(): void {
    this.#file.close();
    this.#changes.clear();
    this.#problems.clear();
  }

  #read(bytes: Buffer): T {
    try {
      if (isBlank(bytes)) throw new Error('is empty: it should hold a secret');
      return this.#parse(bytes);
    } catch (error) {
      throw new Error(`${this.path} ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  #changed(bytes: Buffer): void {
    if (withoutNewline(bytes).equals(withoutNewline(this.#bytes))) return;
    try {
      this.#value = this.#read(bytes);
    } catch (error) {
      this.#problem(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#bytes = bytes;
    for (const listener of this.#changes) listener();
  }

  #problem(problem: string): void {
    for (const listener of this.#problems) listener(`${problem}: the last value stays in use`);
  }
}

/** Control characters and spaces. Zeros are what a crash leaves of a file. */
const BLANK = /[\0-\x20\x7f]+/g;

/** Whether `bytes` consist of a byte order mark, white space and control characters only. */
export function isBlank(bytes: Buffer): boolean {
  return bytes.toString('utf8').replace(BLANK, '').trim() === '';
}

/**
 * The lines of a file that are not blank, without surrounding white space and without a byte order mark.
 * Throws an Error if the file is not UTF-8 text (PowerShell writes UTF-16), or has more than 1,000 such lines.
 */
export function secretLines(bytes: Buffer): string[] {
  if (!isText(bytes)) throw new Error('is not UTF-8 text: save it as UTF-8');
  const lines = bytes
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length > MAX_LINES) throw new Error(`holds ${lines.length} lines; at most ${MAX_LINES} are allowed`);
  return lines;
}

/** Whether `bytes` are text: UTF-8 without control characters other than tabs and line ends. */
export function isText(bytes: Buffer): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it checks for them
  return isUtf8(bytes) && !/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(bytes.toString('utf8'));
}

export function withoutNewline(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end--;
  if (bytes[end - 1] === 0x0d) end--;
  return bytes.subarray(0, end);
}
