/** Time as the client's rules see it: tests put in their own. */
export interface Clock {
  /** Milliseconds by a clock that is never set, nor goes back: only differences count. */
  now(): number;
  /** Milliseconds since the epoch. Where it is absent, `now` counts from there. */
  wall?(): number;
  /** Calls `run` once after `ms`; the returned function calls it off. */
  after(ms: number, run: () => void): () => void;
}

/** Longer timers fire at once in every engine. */
export const MAX_DELAY = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, MAX_DELAY));
    return () => clearTimeout(timer);
  },
};

/** Milliseconds since the epoch, by `clock`. */
export function wallTime(clock: Clock): number {
  return clock.wall?.() ?? clock.now();
}
