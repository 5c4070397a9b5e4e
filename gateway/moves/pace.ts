/** Longest time between two steps that counts, milliseconds: a loop that stood still makes up for it by no burst. */
const LONGEST_STEP = 200;

/** How many of something are due over time, in whole ones. Pure: time comes in as an argument. */
export class Pace {
  #last: number;
  #owed = 0;

  /** @param now milliseconds */
  constructor(now: number) {
    this.#last = now;
  }

  /** How many are due now. @param rate a second @param wanted at most */
  take(now: number, rate: number, wanted: number): number {
    this.#owed += (Math.min(LONGEST_STEP, now - this.#last) / 1_000) * rate;
    this.#last = now;
    const count = Math.min(wanted, Math.floor(this.#owed));
    this.#owed -= count;
    // What was not needed is not saved up for a burst.
    this.#owed = Math.min(this.#owed, 1);
    return count;
  }
}
