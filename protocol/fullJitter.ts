/**
 * Back-off with full jitter: a random wait between 0 and a limit that doubles with each failed attempt, so that the many
 * clients of one lost server do not all return at the same moment.
 *
 * @param attempt attempts that failed before, from 0; at least this many doublings, so a larger number widens the wait
 * @param first the limit of the first wait, milliseconds
 * @param longest the largest limit, milliseconds
 * @param random a number from 0 to 1
 * @returns milliseconds to wait
 */
export function fullJitter(attempt: number, first: number, longest: number, random = Math.random()): number {
  // The exponent is bounded so that the limit stays a finite number whatever `first` is.
  return random * Math.min(longest, first * 2 ** Math.min(attempt, 31));
}
