/** Limits one shard's handshakes a second: a token bucket that holds one second's worth. */
export class AcceptRate {
  #tokens = 0;
  #last = Number.NEGATIVE_INFINITY;

  /** Takes a token; false if there is none. @param perSecond 0: no limit @param now milliseconds */
  take(perSecond: number, now: number): boolean {
    if (perSecond <= 0) return true;
    const burst = Math.max(1, perSecond);
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, now - this.#last) / 1_000) * perSecond);
    this.#last = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
