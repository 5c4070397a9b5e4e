import { setTimeout } from 'node:timers/promises';

/** Milliseconds: enough for every condition of the tests on a machine of half the speed under load. */
export const PATIENCE_MS = 60_000;

/**
 * Waits until `condition` holds. Throws an Error with `what` if the condition does not hold within `deadline`
 * milliseconds. Only a failing test waits that long; the deadline does not assert how fast something is.
 * @param every milliseconds between two checks: more if a check is expensive
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadline = PATIENCE_MS,
  every = 5,
): Promise<void> {
  const end = performance.now() + deadline;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${deadline} ms in vain until ${what}`);
    await setTimeout(every);
  }
}
