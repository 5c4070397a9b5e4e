import { Pace } from './pace.ts';

/** One step of leaving: how many to ask now, and how long they have. */
export type Step = { count: number; withinMs: number };

/** Kept free at the end for what is still under way (contract: done by timeout − 5 s), milliseconds. */
const SPARE = 5_000;
/** A v1 client gets this long to move, milliseconds: time to join elsewhere, and for the last window to reach it here. */
const MOVE_WITHIN = 8_000;

/** How long a v1 client has to move. @param maxDelay the longest merge window @returns milliseconds */
export function moveWithin(maxDelay: number): number {
  return Math.max(MOVE_WITHIN, 3 * maxDelay);
}

/**
 * How many connections are asked to leave over time: `rate` a second, or as many more as it takes to have asked
 * everyone early enough before the deadline. Pure: time comes in as an argument.
 */
export class DrainPace {
  readonly #rate: () => number;
  readonly #end: number;
  readonly #within: number;
  readonly #pace: Pace;

  /**
   * @param rate connections a second
   * @param now milliseconds
   * @param timeout milliseconds from now to the end
   * @param maxDelay the longest merge window, milliseconds
   */
  constructor(rate: () => number, now: number, timeout: number, maxDelay: number) {
    this.#rate = rate;
    this.#pace = new Pace(now);
    // A short timeout is shared between the pace, the move and the spare time.
    this.#end = now + Math.max(timeout - SPARE, timeout / 2);
    this.#within = Math.max(200, Math.min(moveWithin(maxDelay), timeout / 4));
  }

  /** When the last connection is made to go. */
  get end(): number {
    return this.#end;
  }

  /** @param unasked connections that were not asked yet */
  step(now: number, unasked: number): Step {
    const left = Math.max(1, this.#end - this.#within - now);
    const rate = Math.max(this.#rate(), (unasked / left) * 1_000);
    return { count: this.#pace.take(now, rate, unasked), withinMs: Math.round(this.#within) };
  }
}
