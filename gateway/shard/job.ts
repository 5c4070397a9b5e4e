import type { LagReason } from '@pushcluster/protocol/frames.ts';

/** Bytes for one group of a channel. */
export type Wave = { bytes: Uint8Array; binary: boolean };

/** What goes to all members of a channel: a frame in up to three forms, or the news that items were missed. */
export type Job = {
  /** Items that the members' position moves on by. */
  items: number;
  /** For the plain, v1 and deflate groups; a group without gets nothing. */
  waves: readonly [Wave | undefined, Wave | undefined, Wave | undefined];
  /** When logic accepted the items: time (milliseconds since the epoch), how many. */
  ages: readonly [at: number, items: number][];
  /** Set where the items will never come: the waves tell so. */
  missed?: LagReason;
  /** Bytes to report as done; 0 where nothing is owed. */
  size: number;
};
