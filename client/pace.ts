/** At most `burst` at once, and `perSecond` on average. Times in milliseconds. */
export class Pace {
  readonly #burst: number;
  readonly #perSecond: number;
  #credit: number;
  #at = 0;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#credit = burst;
  }

  /** How long until the next may come, in whole milliseconds: less than one may be too little for a clock to show. */
  wait(now: number): number {
    return Math.max(0, Math.ceil(((1 - this.#creditAt(now)) / this.#perSecond) * 1000));
  }

  /** One comes now, in its time or not. */
  take(now: number): void {
    this.#credit = this.#creditAt(now) - 1;
    this.#at = now;
  }

  #creditAt(now: number): number {
    return Math.min(this.#burst, this.#credit + (Math.max(0, now - this.#at) / 1000) * this.#perSecond);
  }
}
