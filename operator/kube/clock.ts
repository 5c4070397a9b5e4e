/** Time as the operator's rules see it: tests put in their own. */
export interface Clock {
  /** Milliseconds by a clock that never goes back and that runs on while the process stands still; only differences count. */
  now(): number;
  /** Milliseconds since 1970, for what is written into objects. */
  wall(): number;
  /** Calls `run` once after `ms`; the returned function calls it off. */
  after(ms: number, run: () => void): () => void;
}

/** Longer timers fire at once in Node. */
const MAX_DELAY = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, MAX_DELAY));
    return () => clearTimeout(timer);
  },
};

/** Waits `ms`, or until `signal` aborts: it never rejects. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      callOff();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const callOff = clock.after(ms, end);
    signal?.addEventListener('abort', end, { once: true });
  });
}
