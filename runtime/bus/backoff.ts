/**
 * Full-jitter back-off: a random wait of 0 up to a bound that doubles with each attempt, so that the many who lost one
 * server don't come back in step.
 *
 * @param attempt attempts that failed before, from 0
 * @param range bounds of the wait's upper limit, in milliseconds
 * @param random a number from 0 to below 1
 * @returns milliseconds to wait
 */
export function fullJitter(attempt: number, range: { first: number; longest: number }, random = Math.random): number {
  const limit = Math.min(range.longest, range.first * 2 ** Math.min(attempt, 30));
  return random() * limit;
}
