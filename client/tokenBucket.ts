/**
 * A token bucket that may be overdrawn: `burst` tokens at once, and `perSecond` on average. Times in milliseconds, by a clock
 * that never goes back.
 */
export class TokenBucket {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #at = 0;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** Milliseconds until there is a token; 0: there is one. Rounded up: a clock may not show less than a millisecond. */
  wait(now: number): number {
    return Math.max(0, Math.ceil(((1 - this.#tokensAt(now)) / this.#perSecond) * 1000));
  }

  /** Takes a token, even if there is none: then the next one takes longer. */
  take(now: number): void {
    this.#tokens = this.#tokensAt(now) - 1;
    this.#at = now;
  }

  #tokensAt(now: number): number {
    return Math.min(this.#burst, this.#tokens + (Math.max(0, now - this.#at) / 1000) * this.#perSecond);
  }
}
