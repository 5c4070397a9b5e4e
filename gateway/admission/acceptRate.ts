import { refilled } from '@pushcluster/runtime/tokenBucket.ts';

/**
 * Limits one shard's handshakes a second: a token bucket that holds one second's worth, full at first. The rate comes with
 * each call, since it changes with the settings and is the gateway's divided by its shards.
 */
export class AcceptRate {
  #tokens = 0;
  #last = Number.NEGATIVE_INFINITY;

  /** Takes a token; false if there is none. @param perSecond 0: no limit @param now milliseconds */
  take(perSecond: number, now: number): boolean {
    if (perSecond <= 0) return true;
    this.#tokens = refilled(this.#tokens, now - this.#last, perSecond, Math.max(1, perSecond));
    this.#last = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
