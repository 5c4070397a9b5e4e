import { setTimeout } from 'node:timers/promises';

/** What a machine of half the speed with a busy neighbour needs for anything that is waited for here, milliseconds. */
export const PATIENCE_MS = 60_000;

/**
 * Waits until `condition` holds. Throws a sentence with `what` where it doesn't within `deadline` milliseconds: so long
 * only a failure takes, and no test asserts by it how fast something is.
 * @param every milliseconds between two looks: more where a look is dear
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
