/** A retry is harmless for this long (contract, section 3), milliseconds. */
const REMEMBERED = 120_000;

/** Idempotency keys of the last two minutes, at most `limit`: beyond that the oldest go, and are counted. */
export class Recent {
  /** Keys forgotten before their time. */
  forgotten = 0;
  readonly #limit: number;
  readonly #expiry = new Map<string, number>();

  constructor(limit = 100_000) {
    this.#limit = limit;
  }

  /** Whether `key` was seen in the last two minutes; remembers it from now on where not. */
  seen(key: string, now: number): boolean {
    for (const [old, expiry] of this.#expiry) {
      if (expiry > now) break;
      this.#expiry.delete(old);
    }
    if (this.#expiry.has(key)) return true;
    this.#expiry.set(key, now + REMEMBERED);
    if (this.#expiry.size > this.#limit) {
      const [oldest] = this.#expiry.keys();
      this.#expiry.delete(oldest!);
      this.forgotten++;
    }
    return false;
  }
}
