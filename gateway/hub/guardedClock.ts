import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';

/** A clock whose timers' errors `guard` keeps from ending the process. */
export function guardedClock(clock: Clock, guard: ExceptionGuard): Clock {
  return {
    now: () => clock.now(),
    wall: () => clock.wall(),
    after: (ms, run) => clock.after(ms, () => guard.run('timer', run)),
    soon: (run) => clock.soon(() => guard.run('timer', run)),
  };
}
