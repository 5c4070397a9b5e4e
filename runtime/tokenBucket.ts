/** What a token bucket allows: `burst` at once, and `rate` a second on average. */
export type RateLimit = { rate: number; burst: number };

/** `rate` a second, with a burst of one second's worth (at least 1). A rate of 0 allows nothing. */
export function perSecond(rate: number): RateLimit {
  return { rate, burst: rate > 0 ? Math.max(1, rate) : 0 };
}

/**
 * Tokens in a bucket that held `tokens` and was left alone for `elapsed` milliseconds (a negative time counts as 0). The
 * arithmetic of TokenBucket, for what must not keep an object for each connection.
 */
export function refilled(tokens: number, elapsed: number, rate: number, burst: number): number {
  return Math.min(burst, tokens + (Math.max(0, elapsed) / 1_000) * rate);
}

/** A token bucket, full at first. Pure: time comes in as an argument, milliseconds of a monotonic clock. */
export class TokenBucket {
  #limit: RateLimit;
  #tokens: number;
  #at: number;

  constructor(limit: RateLimit, now: number) {
    this.#limit = limit;
    this.#tokens = limit.burst;
    this.#at = now;
  }

  /** Takes one token if there is one. @returns 0, or the seconds until there will be one (Infinity at a rate of 0) */
  take(now: number): number {
    this.#refill(now);
    if (this.#tokens < 1)
      return this.#limit.rate > 0 ? (1 - this.#tokens) / this.#limit.rate : Number.POSITIVE_INFINITY;
    this.#tokens--;
    return 0;
  }

  /** Applies another limit from now on. The bucket keeps its tokens, up to the new burst. */
  change(limit: RateLimit, now: number): void {
    this.#refill(now);
    this.#limit = limit;
    this.#tokens = Math.min(this.#tokens, limit.burst);
  }

  #refill(now: number) {
    this.#tokens = refilled(this.#tokens, now - this.#at, this.#limit.rate, this.#limit.burst);
    this.#at = now;
  }
}
