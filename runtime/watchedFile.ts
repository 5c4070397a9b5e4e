import { type BigIntStats, closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { onTick } from './ticker.ts';

/** Settings and secrets are small. A larger file is a mistake (a log, a device). */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** New content is accepted once it is unchanged for this long: writers truncate a file first and fill it afterwards. */
const SETTLE_MS = 100;
/** File times have the resolution of the kernel's tick: a file changed this recently is read even if its times are unchanged. */
const FRESH_MS = 2_000n;

export type WatchedFileOptions = {
  /** Milliseconds between two checks; at each tick of the process if absent. */
  pollInterval?: number;
  /** A file that is missing at the start counts as empty, and is read once it exists. */
  mayBeMissing?: boolean;
  /** Called with the new bytes when they differ from the previous ones. */
  changed: (bytes: Buffer) => void;
  /** Called once when the file can no longer be read, with a sentence. The last bytes stay. */
  unreadable: (problem: string) => void;
  /** Called once when the file is no longer there, in place of `unreadable`. */
  missing?: () => void;
  /** Called once when the file can be read again and is unchanged. */
  readable?: () => void;
};

/**
 * A file that is read now, and again whenever its content changes. It is polled, because that detects a rewrite in place,
 * the rename of an editor and the symlink swap of a Kubernetes volume alike, on every file system.
 */
export class WatchedFile {
  readonly path: string;
  readonly #options: WatchedFileOptions;
  readonly #stopChecking: (() => void) | undefined;
  #settling: NodeJS.Timeout | undefined;
  #bytes: Buffer;
  #candidate: Buffer | undefined;
  #stamp: string | undefined;
  #readable = true;
  #isMissing = false;

  /** Reads `path` now. Throws an Error that says why it cannot be read. */
  constructor(path: string, options: WatchedFileOptions) {
    this.path = path;
    this.#options = options;
    const { bytes, regular, stamp } = this.#first();
    this.#bytes = bytes;
    this.#stamp = stamp;
    // A pipe can be read only once, so it is not watched.
    if (regular) this.#stopChecking = checkPeriodically(() => this.#check(), options.pollInterval);
  }

  /** The content, as last read. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  close(): void {
    this.#stopChecking?.();
    clearTimeout(this.#settling);
  }

  #first(): ReturnType<typeof read> {
    try {
      return read(this.path);
    } catch (error) {
      if (!this.#options.mayBeMissing || existsSync(this.path)) throw error;
      this.#readable = false;
      this.#isMissing = true;
      return { bytes: Buffer.alloc(0), regular: true, stamp: undefined };
    }
  }

  #check(settled = false): void {
    let next: Buffer;
    try {
      const stats = statSync(this.path, { bigint: true });
      if (!this.#candidate && this.#stamp !== undefined && this.#stamp === stampOf(stats)) return;
      // Opening a pipe would block the process until somebody writes to it.
      if (!stats.isFile()) throw new Error(`${this.path} is no longer a regular file`);
      const file = read(this.path);
      this.#stamp = file.stamp;
      next = file.bytes;
    } catch (error) {
      this.#stamp = undefined;
      this.#candidate = undefined;
      const isMissing = !existsSync(this.path);
      if (isMissing && this.#options.missing) {
        if (!this.#isMissing) this.#options.missing();
      } else if (this.#readable) this.#options.unreadable(problemOf(this.path, error));
      this.#isMissing = isMissing;
      this.#readable = false;
      return;
    }
    const again = !this.#readable;
    this.#readable = true;
    this.#isMissing = false;
    if (next.equals(this.#bytes)) {
      this.#candidate = undefined;
      if (again) this.#options.readable?.();
    } else if (!this.#candidate?.equals(next)) {
      this.#candidate = next;
      clearTimeout(this.#settling);
      this.#settling = setTimeout(() => this.#check(true), SETTLE_MS).unref();
    } else if (settled) {
      this.#candidate = undefined;
      this.#bytes = next;
      this.#options.changed(next);
    }
  }
}

/** The content of a file. Throws an Error that says why it cannot be read, or that it is too large. */
export function readSmallFile(path: string): Buffer {
  return read(path).bytes;
}

function checkPeriodically(check: () => void, pollInterval: number | undefined): () => void {
  if (pollInterval === undefined) return onTick(check);
  const interval = setInterval(check, pollInterval).unref();
  return () => clearInterval(interval);
}

/** The content of `path`. `stamp` is undefined while the file is fresh. Throws an Error that says why it cannot be read. */
function read(path: string): { bytes: Buffer; regular: boolean; stamp: string | undefined } {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new Error(problemOf(path, error), { cause: error });
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
    throw new Error(problemOf(path, error), { cause: error });
  } finally {
    closeSync(fd);
  }
}

function stampOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
}

function problemOf(path: string, error: unknown): string {
  if (!(error instanceof Error)) return `${path} could not be read: ${String(error)}`;
  if (!('code' in error)) return error.message;
  switch (error.code) {
    case 'ENOENT':
      return `${path} does not exist`;
    case 'EACCES':
    case 'EPERM':
      return `${path} may not be read by this user`;
    case 'EISDIR':
      return `${path} is a folder, not a file`;
    default:
      return `${path} could not be read: ${error.message}`;
  }
}
