/** The client's clock. Tests pass their own. */
export interface Clock {
  /** Milliseconds of a clock that is never set and never goes back. Only differences count. */
  now(): number;
  /** Milliseconds since the epoch. Default: `now`. */
  wall?(): number;
  /** Calls `run` once after `ms` milliseconds. The returned function cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** Longest timer, milliseconds: engines run longer ones at once. */
export const MAX_DELAY = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, MAX_DELAY));
    return () => clearTimeout(timer);
  },
};
