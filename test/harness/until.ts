import { setTimeout } from 'node:timers/promises';

/** Milliseconds: enough for every condition of the tests on a machine of a quarter of the speed under load. */
export const PATIENCE_MS = 180_000;
/** Milliseconds between two checks at most, however long a check takes. */
const LONGEST_PAUSE_MS = 2_000;

/**
 * Waits until `condition` holds. Throws an Error with `what` if the condition does not hold within `deadline`
 * milliseconds. Only a failing test waits that long; the deadline does not assert how fast something is.
 * Checks take at most a third of the time: one that starts `kubectl` would otherwise keep a processor busy.
 * @param every milliseconds between two checks at least
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadline = PATIENCE_MS,
  every = 5,
): Promise<void> {
  const end = performance.now() + deadline;
  for (;;) {
    const began = performance.now();
    if (await condition()) return;
    const now = performance.now();
    if (now > end) throw new Error(`waited ${deadline} ms in vain until ${what}`);
    await setTimeout(Math.max(every, Math.min(2 * (now - began), LONGEST_PAUSE_MS)));
  }
}
