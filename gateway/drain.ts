/** One step of leaving: how many to ask now, and how long they have. */
export type Step = { count: number; withinMs: number };

/** A v1 client gets this long to move, milliseconds: time to join elsewhere, and for the last window to reach it here. */
const MOVE_WITHIN = 8_000;
/** Longest time between two steps that counts, milliseconds: a loop that stood still makes up for it by no burst. */
const LONGEST_STEP = 200;
/** Kept free at the end for what is still under way (contract: done by timeout − 5 s), milliseconds. */
const SPARE = 5_000;

/**
 * How many connections are asked to leave over time: `rate` a second, or as many more as it takes to have asked
 * everyone early enough before the deadline. Pure: time comes in as an argument.
 */
export class DrainPace {
  readonly #rate: () => number;
  readonly #end: number;
  readonly #within: number;
  #last: number;
  #owed = 0;

  /**
   * @param rate connections a second
   * @param now milliseconds
   * @param timeout milliseconds from now to the end
   * @param maxDelay the longest merge window, milliseconds
   */
  constructor(rate: () => number, now: number, timeout: number, maxDelay: number) {
    this.#rate = rate;
    this.#last = now;
    // A short timeout is shared between the pace, the move and the spare time.
    this.#end = now + Math.max(timeout - SPARE, timeout / 2);
    this.#within = Math.max(200, Math.min(Math.max(MOVE_WITHIN, 3 * maxDelay), timeout / 4));
  }

  /** When the last connection is made to go. */
  get end(): number {
    return this.#end;
  }

  /** @param unasked connections that were not asked yet */
  step(now: number, unasked: number): Step {
    const left = Math.max(1, this.#end - this.#within - now);
    const rate = Math.max(this.#rate(), (unasked / left) * 1_000);
    this.#owed += (Math.min(LONGEST_STEP, now - this.#last) / 1_000) * rate;
    this.#last = now;
    const count = Math.min(unasked, Math.floor(this.#owed));
    this.#owed -= count;
    // What was not needed is not saved up for a burst.
    this.#owed = Math.min(this.#owed, 1);
    return { count, withinMs: Math.round(this.#within) };
  }
}

/** Shares `count` among parts in proportion to their sizes; the sum is exact. */
export function share(count: number, sizes: readonly number[]): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total === 0) return sizes.map(() => 0);
  let given = 0;
  let seen = 0;
  return sizes.map((size) => {
    seen += size;
    const upTo = Math.round((count * seen) / total);
    const part = upTo - given;
    given = upTo;
    return part;
  });
}
