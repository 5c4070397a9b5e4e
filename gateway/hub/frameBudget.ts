/** CPU time that all frames together may take of the busiest core, at most and at least, cores. */
export const MOST_CORES = 0.5;
export const LEAST_CORES = 0.05;
/** The share of its core that the busiest process may use before windows become longer. */
const BUSY = 0.7;
/** Milliseconds that an event loop may be late before windows become longer: a fifth of the default of `protection.loopLag`. */
const LATE_MS = 100;
/** Strain that is neither too much nor so little that the budget rises. It is wider than one rise. */
const TOO_MUCH = 1.15;
const LITTLE = 0.85;
const RISE = 1.1;
const LARGEST_FALL = 0.5;

/** What was measured in the last second. */
export type Load = {
  /** CPU time of the busiest process, or of all processes as a share of their cores, whichever is more: 0 to 1. */
  busy: number;
  /** The longest delay of an event loop, milliseconds. */
  lateMs: number;
  /** Bytes on their way to the shard that has the most, as a share of those that may be (`shardWatch.maxInFlight`). */
  backlog: number;
};

/**
 * The CPU time that frames may take. What a frame costs is an estimate, and messages, handshakes and neighbours take
 * time as well: the budget falls while the gateway is measured to be strained, and rises again while it has time.
 */
export class FrameBudget {
  #cores = MOST_CORES;
  /** Delay of the loops, milliseconds: one long delay alone, such as a garbage collection, counts half. */
  #lateMs = 0;

  get cores(): number {
    return this.#cores;
  }

  /** Takes a measurement, one a second. @returns `cores` */
  read({ busy, lateMs, backlog }: Load): number {
    // A tenth of the bytes that may be on their way is too much to wait behind.
    this.#lateMs = (this.#lateMs + lateMs) / 2;
    const strain = Math.max(busy / BUSY, this.#lateMs / LATE_MS, backlog * 10);
    if (strain > TOO_MUCH) this.#cores *= Math.max(LARGEST_FALL, 1 / strain);
    else if (strain < LITTLE) this.#cores *= RISE;
    this.#cores = Math.min(MOST_CORES, Math.max(LEAST_CORES, this.#cores));
    return this.#cores;
  }
}
