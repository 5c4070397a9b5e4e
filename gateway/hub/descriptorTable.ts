import type { IOType, StdioOptions } from 'node:child_process';

/** Descriptors that a shard's table has room for from the start, at most: half a megabyte of the kernel's memory. */
const MOST = 65_536;
/** Descriptors below the limit that are left to the start of a process. */
const SPARE = 64;

/**
 * The descriptor that a shard's process is started with, and closes, so that the kernel makes its table of descriptors
 * large at once. The table doubles whenever it is full. A process with threads then waits until every core has passed a
 * quiescent state of RCU: up to a second on a busy machine, in which the shard does nothing at all, and this in the middle
 * of a connection storm. Undefined if the limit of descriptors is small.
 */
export function tableDescriptor(limit: number): number | undefined {
  // To start a process, libuv needs one more above it.
  const descriptor = Math.min(limit - SPARE, MOST - 1) - 1;
  return descriptor > SPARE ? descriptor : undefined;
}

/** The descriptors of a process with those of `own`, and `table`, which is its standard output once more. */
export function withTable(own: readonly IOType[], table: number | undefined): StdioOptions {
  if (table === undefined) return [...own];
  return [...own, ...new Array<IOType>(table - own.length).fill('ignore'), process.stdout.fd];
}
