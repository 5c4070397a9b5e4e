/** Allows `rate` a second, with a burst of one second's worth (at least one). */
export class TokenBucket {
  readonly #now: () => number;
  #rate: number;
  #tokens: number;
  #at: number;

  /** @param now milliseconds of a clock that never goes back */
  constructor(rate: number, now: () => number = () => performance.now()) {
    this.#now = now;
    this.#rate = rate;
    this.#tokens = this.#burst;
    this.#at = now();
  }

  set rate(rate: number) {
    this.#refill();
    this.#rate = rate;
    this.#tokens = Math.min(this.#tokens, this.#burst);
  }

  /** Takes one: 0 where there was one, else the seconds until there will be (Infinity at rate 0). */
  take(): number {
    this.#refill();
    if (this.#tokens < 1) return this.#rate > 0 ? (1 - this.#tokens) / this.#rate : Number.POSITIVE_INFINITY;
    this.#tokens--;
    return 0;
  }

  get #burst(): number {
    return this.#rate > 0 ? Math.max(1, this.#rate) : 0;
  }

  #refill() {
    const now = this.#now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1_000) * this.#rate);
    this.#at = now;
  }
}
