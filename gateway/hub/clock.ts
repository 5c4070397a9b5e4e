import type { Guard } from './guard.ts';

/** Time as the hub's rules see it: tests put in their own. */
export interface Clock {
  /** Milliseconds; only differences count. */
  now(): number;
  /** Calls `run` once after `ms`; the returned function calls it off. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` in the loop's next turn. */
  soon(run: () => void): void;
}

/** A clock whose timers' errors `guard` keeps from ending the process. */
export function guardedClock(clock: Clock, guard: Guard): Clock {
  return {
    now: () => clock.now(),
    after: (ms, run) => clock.after(ms, () => guard.run('timer', run)),
    soon: (run) => clock.soon(() => guard.run('timer', run)),
  };
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  soon(run) {
    setImmediate(run);
  },
};
