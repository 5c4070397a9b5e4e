import { Shortage } from './shortage.ts';

/**
 * How many connections there may be while memory is short: as many as there were when the shortage began. For each that
 * closes another may open, since an allocator keeps the memory that it once had and uses it again: if resident memory alone
 * decided, nobody might ever be accepted again. From halfway between threshold and limit it is half as many.
 */
export class MemoryCeiling {
  readonly #shortage = new Shortage('memory');
  #held = 0;

  /** Memory is short. */
  get active(): boolean {
    return this.#shortage.active;
  }

  /**
   * @param pressure of memory, 0 to 1
   * @param threshold of that pressure; 1: no limit
   * @param held connections now
   * @returns connections at most; Infinity: any number
   */
  read(pressure: number, threshold: number, held: number): number {
    if (threshold >= 1) {
      this.#shortage.read(0, threshold);
      return Number.POSITIVE_INFINITY;
    }
    if (this.#shortage.read(pressure, threshold) && this.#shortage.active) this.#held = held;
    if (!this.#shortage.active) return Number.POSITIVE_INFINITY;
    return pressure >= (1 + threshold) / 2 ? Math.floor(this.#held / 2) : this.#held;
  }
}
