/** Chance by a seed (mulberry32), so that a run can be had again. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to 1, 1 excluded. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** About normal, mean 0, deviation 1: twelve uniform ones less six. */
  normal(): number {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += this.next();
    return sum;
  }

  /**
   * How many of `count` fall into each of `parts` places where each place is as likely: place by place, a binomial of
   * what is left (few are thrown one by one, many by the normal distribution). The sum is exact.
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
    // Jumps over the misses (geometric), so that a rare hit among many costs little.
    for (let at = this.#misses(likely); at < count; at += 1 + this.#misses(likely)) hits++;
    return hits;
  }

  #misses(likely: number): number {
    return likely >= 1 ? 0 : Math.floor(Math.log(1 - this.next()) / Math.log(1 - likely));
  }
}
