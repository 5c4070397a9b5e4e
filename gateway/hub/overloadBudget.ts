import type { Overload } from '@pushcluster/protocol/roomPolicies.ts';

/** The shortest span over which an overload budget is counted, milliseconds. */
const SHORTEST_SPAN_MS = 1_000;

/**
 * How many items of a channel may leave, by `overload.maxRate`. It is counted in spans of a second, or of the window's
 * maxDelay if that is longer: what leaves in a span is charged to it.
 *
 * Example with a maxRate of 10 and a maxDelay of 400 ms: a span takes 1 s, and 10 items may leave in it. At 900 ms, 7 have
 * left and 3 wait for their batch. At 1,000 ms a message begins the next span. The 3 belong to the span before, so this
 * one starts with -3 spent: when they leave at 1,100 ms, 0 are spent, and 10 further items may leave until 2,000 ms.
 */
export class OverloadBudget {
  #spanStart = Number.NEGATIVE_INFINITY;
  #spanMs = SHORTEST_SPAN_MS;
  #budget = Number.POSITIVE_INFINITY;
  /** Items of this span that left. */
  #spent = 0;
  /** Items that were seen since the last batch. */
  #seen = 0;
  /** Items were cut in this span, or in the one before it. */
  #isCut = false;
  #wasCut = false;

  /** A message has come: begins a new span if the last one is over. @param pending items that wait for their batch */
  enter(now: number, { maxRate }: Pick<Overload, 'maxRate'>, maxDelay: number, pending: number): void {
    this.#spanMs = Math.max(maxDelay, SHORTEST_SPAN_MS);
    if (now - this.#spanStart >= this.#spanMs) {
      this.#wasCut = this.#isCut && now - this.#spanStart < 2 * this.#spanMs;
      this.#isCut = false;
      this.#spanStart = now;
      // What is still pending was let in by the span before: it must not be charged to this one when it leaves.
      this.#spent = -pending;
    }
    this.#budget = Math.max(1, Math.round((maxRate * this.#spanMs) / 1_000));
  }

  /** Items are cut. */
  strain(): void {
    this.#isCut = true;
  }

  /** Items were cut in this span or in the one before it. */
  get strained(): boolean {
    return this.#isCut || this.#wasCut;
  }

  get spanStart(): number {
    return this.#spanStart;
  }

  /** When the present span ends. */
  get spanEnd(): number {
    return this.#spanStart + this.#spanMs;
  }

  /** Items that may leave in this span, those that are pending included. Not above 0 once it is spent. */
  get left(): number {
    return this.#budget - this.#spent;
  }

  /** Items that were seen since the last batch: each has the same chance to be in a sample. */
  get seen(): number {
    return this.#seen;
  }

  see(items: number): void {
    this.#seen += items;
  }

  /** A batch has left. */
  spend(items: number): void {
    this.#spent += items;
    this.#seen = 0;
  }
}
