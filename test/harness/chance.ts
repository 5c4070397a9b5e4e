/** A seeded random generator (mulberry32): the same seed gives the same run. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer from 0 (included) to 2³² (excluded). */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A number from 0 (included) to 1 (excluded). */
  next(): number {
    return this.uint32() / 2 ** 32;
  }

  /** An integer from 0 (included) to `end` (excluded). */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new Error('nothing to pick from');
    return choices[this.below(choices.length)]!;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** A length that is small mostly, and now and then as large as `longest`. */
  length(longest: number): number {
    return this.once(10) ? this.below(longest + 1) : this.below(Math.min(64, longest) + 1);
  }

  /** Approximately normal with mean 0 and deviation 1: the sum of twelve uniform numbers minus 6. */
  normal(): number {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += this.next();
    return sum;
  }

  /**
   * Distributes `count` over `parts` places with equal probability; returns the counts, whose sum is exactly `count`.
   * Each place takes a binomial share of the rest. Large shares are approximated by the normal distribution.
   */
  split(count: number, parts: number): number[] {
    const shares = new Array<number>(parts).fill(0);
    let left = count;
    for (let i = 0; i < parts && left > 0; i++) {
      const part = i === parts - 1 ? left : this.#binomial(left, 1 / (parts - i));
      shares[i] = part;
      left -= part;
    }
    return shares;
  }

  #binomial(count: number, likely: number): number {
    const deviation = Math.sqrt(count * likely * (1 - likely));
    if (deviation > 5) return Math.max(0, Math.min(count, Math.round(count * likely + deviation * this.normal())));
    let hits = 0;
    // Jumps over the misses (geometric distribution), so that rare hits among many cost little.
    for (let at = this.#misses(likely); at < count; at += 1 + this.#misses(likely)) hits++;
    return hits;
  }

  #misses(likely: number): number {
    return likely >= 1 ? 0 : Math.floor(Math.log(1 - this.next()) / Math.log(1 - likely));
  }
}
