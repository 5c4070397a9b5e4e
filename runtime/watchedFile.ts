import { type BigIntStats, closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { onBeat } from './beat.ts';

/** Settings and secrets are small: a larger file is a mistake (a log, a device), not worth the memory. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** New content counts once the file has said the same for this long: writers truncate first and fill it after. */
const SETTLE_MS = 100;
/** File times are as coarse as the kernel's tick, so a file changed this recently is read whatever its times say. */
const FRESH_MS = 2_000n;

export type WatchedFileOptions = {
  /** Milliseconds between looks; by the process' beat where absent. */
  pollInterval?: number;
  /** A file that isn't there at the start is empty, and is read once it is there. */
  mayBeMissing?: boolean;
  /** Called with the new bytes once the file has other bytes than before. */
  changed: (bytes: Buffer) => void;
  /** Called once when the file can no longer be read, with a sentence; the last bytes stay. */
  unreadable: (problem: string) => void;
  /** Called once when the file can be read again, and says what it said last. */
  readable?: () => void;
};

/**
 * A file that is read now and again whenever its content changes. It polls, so that rewriting in place, an editor's
 * rename and the symlink swaps of Kubernetes volumes are all the same, on every file system.
 */
export class WatchedFile {
  readonly path: string;
  readonly #options: WatchedFileOptions;
  readonly #stopLooking: (() => void) | undefined;
  #settling: NodeJS.Timeout | undefined;
  #bytes: Buffer;
  #candidate: Buffer | undefined;
  #stamp: string | undefined;
  #readable = true;

  /** Reads `path` now. Throws an Error that says why it can't be read. */
  constructor(path: string, options: WatchedFileOptions) {
    this.path = path;
    this.#options = options;
    const { bytes, regular, stamp } = this.#first();
    this.#bytes = bytes;
    this.#stamp = stamp;
    // A pipe can be read only once: its content is what it was.
    if (regular) this.#stopLooking = lookNowAndAgain(() => this.#look(), options.pollInterval);
  }

  /** The content, as last read. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  close(): void {
    this.#stopLooking?.();
    clearTimeout(this.#settling);
  }

  #first(): ReturnType<typeof read> {
    try {
      return read(this.path);
    } catch (error) {
      if (!this.#options.mayBeMissing || existsSync(this.path)) throw error;
      this.#readable = false;
      return { bytes: Buffer.alloc(0), regular: true, stamp: undefined };
    }
  }

  #look(settled = false): void {
    let next: Buffer;
    try {
      const stats = statSync(this.path, { bigint: true });
      if (!this.#candidate && this.#stamp !== undefined && this.#stamp === stampOf(stats)) return;
      // Opening a pipe would hang the process until somebody writes.
      if (!stats.isFile()) throw new Error(`${this.path} is no longer a regular file`);
      const file = read(this.path);
      this.#stamp = file.stamp;
      next = file.bytes;
    } catch (error) {
      this.#stamp = undefined;
      this.#candidate = undefined;
      if (this.#readable) this.#options.unreadable(problemOf(this.path, error));
      this.#readable = false;
      return;
    }
    const again = !this.#readable;
    this.#readable = true;
    if (next.equals(this.#bytes)) {
      this.#candidate = undefined;
      if (again) this.#options.readable?.();
    } else if (!this.#candidate?.equals(next)) {
      this.#candidate = next;
      clearTimeout(this.#settling);
      this.#settling = setTimeout(() => this.#look(true), SETTLE_MS).unref();
    } else if (settled) {
      this.#candidate = undefined;
      this.#bytes = next;
      this.#options.changed(next);
    }
  }
}

/** The content of a file now. Throws an Error that says why it can't be read, or that it is too large. */
export function readSmallFile(path: string): Buffer {
  return read(path).bytes;
}

function lookNowAndAgain(look: () => void, pollInterval: number | undefined): () => void {
  if (pollInterval === undefined) return onBeat(look);
  const interval = setInterval(look, pollInterval).unref();
  return () => clearInterval(interval);
}

/** The content of `path`. Throws an Error that says why it can't be read; `stamp` is undefined while the file is fresh. */
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
