import { type BigIntStats, closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

/** Settings and secrets are small: a larger file is a mistake (a log, a device), not worth the memory. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;

const POLL_MS = 1_000;
/** A file that changes is read again after this long, and taken once it says the same twice: writers truncate first. */
const SETTLE_MS = 100;
/** File times are as coarse as the kernel's tick, so a file changed this recently is read whatever its times say. */
const FRESH_MS = 2_000n;

export type WatchedFileOptions = {
  /** Milliseconds between looks. */
  pollInterval?: number;
  /** Called with the new bytes once the file has other bytes than before. */
  changed: (bytes: Buffer) => void;
  /** Called once when the file can no longer be read, with a sentence; the last bytes stay. */
  unreadable: (problem: string) => void;
};

/**
 * A file that is read now and again whenever its content changes. It polls, so that rewriting in place, an editor's
 * rename and the symlink swaps of Kubernetes volumes are all the same, on every file system.
 */
export class WatchedFile {
  readonly path: string;
  readonly #options: WatchedFileOptions;
  readonly #interval: NodeJS.Timeout | undefined;
  #settling: NodeJS.Timeout | undefined;
  #bytes: Buffer;
  #candidate: Buffer | undefined;
  #stamp: string | undefined;
  #readable = true;

  /** Reads `path` now. Throws an Error that says why it can't be read. */
  constructor(path: string, options: WatchedFileOptions) {
    this.path = path;
    this.#options = options;
    const { bytes, regular, stamp } = read(path);
    this.#bytes = bytes;
    this.#stamp = stamp;
    // A pipe can be read only once: its content is what it was.
    if (regular) this.#interval = setInterval(() => this.#look(), options.pollInterval ?? POLL_MS).unref();
  }

  /** The content, as last read. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  close(): void {
    clearInterval(this.#interval);
    clearTimeout(this.#settling);
  }

  #look(): void {
    let next: Buffer;
    try {
      if (this.#stamp !== undefined && this.#stamp === stampOf(statSync(this.path, { bigint: true }))) return;
      const file = read(this.path);
      this.#stamp = file.stamp;
      next = file.bytes;
    } catch (error) {
      this.#stamp = undefined;
      this.#candidate = undefined;
      if (this.#readable) this.#options.unreadable(error instanceof Error ? error.message : String(error));
      this.#readable = false;
      return;
    }
    this.#readable = true;
    if (next.equals(this.#bytes)) {
      this.#candidate = undefined;
    } else if (this.#candidate?.equals(next)) {
      this.#candidate = undefined;
      this.#bytes = next;
      this.#options.changed(next);
    } else {
      this.#candidate = next;
      this.#stamp = undefined;
      clearTimeout(this.#settling);
      this.#settling = setTimeout(() => this.#look(), SETTLE_MS).unref();
    }
  }
}

/** The content of `path`. Throws an Error that says why it can't be read; `stamp` is undefined while the file is fresh. */
function read(path: string): { bytes: Buffer; regular: boolean; stamp: string | undefined } {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new Error(`${path} ${reason(error)}`, { cause: error });
  }
  try {
    const stats = fstatSync(fd, { bigint: true });
    const parts: Buffer[] = [];
    let size = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(Math.max(4_096, Number(stats.size < 65_536n ? stats.size + 1n : 65_536n)));
      const length = readSync(fd, chunk, 0, chunk.length, null);
      if (length === 0) break;
      size += length;
      if (size > MAX_FILE_BYTES) throw new Error(`${path} is larger than ${MAX_FILE_BYTES} bytes`);
      parts.push(chunk.subarray(0, length));
    }
    const fresh = BigInt(Date.now()) - stats.mtimeMs < FRESH_MS;
    return { bytes: Buffer.concat(parts), regular: stats.isFile(), stamp: fresh ? undefined : stampOf(stats) };
  } catch (error) {
    if (error instanceof Error && 'code' in error) throw new Error(`${path} ${reason(error)}`, { cause: error });
    throw error;
  } finally {
    closeSync(fd);
  }
}

function stampOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return 'does not exist';
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by this user';
    case 'EISDIR':
      return 'is a folder, not a file';
    default:
      return `could not be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}
