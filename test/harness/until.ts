import { setTimeout } from 'node:timers/promises';

/**
 * Waits until `condition` holds. Throws a sentence with `what` where it doesn't within `deadline` milliseconds.
 * @param every milliseconds between two looks: more where a look is dear
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadline = 20_000,
  every = 5,
): Promise<void> {
  const end = performance.now() + deadline;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${deadline} ms in vain until ${what}`);
    await setTimeout(every);
  }
}
