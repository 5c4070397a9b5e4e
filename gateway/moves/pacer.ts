/** Longest step that counts, milliseconds: an event loop that was blocked does not catch up with a burst. */
const LONGEST_STEP_MS = 200;

/**
 * How many connections are due to move, in whole numbers, at a rate that may change with each step. Moves that
 * were due but not requested are not carried over, unlike in a token bucket. Pure: time comes in as an argument.
 */
export class Pacer {
  #last: number;
  #due = 0;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: number) {
    this.#last = now;
  }

  /** How many are due now. @param rate a second @param wanted the most that are taken */
  take(now: number, rate: number, wanted: number): number {
    this.#due += (Math.min(LONGEST_STEP_MS, now - this.#last) / 1_000) * rate;
    this.#last = now;
    const count = Math.min(wanted, Math.floor(this.#due));
    this.#due -= count;
    this.#due = Math.min(this.#due, 1);
    return count;
  }
}
