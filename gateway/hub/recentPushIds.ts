import { hash } from 'node:crypto';

/** An idempotency key is remembered for this long, milliseconds: the API promises two minutes. */
const REMEMBERED = 120_000;

/**
 * Characters of a key that is kept as it is. Of a longer one (the key of a push to users has all their names) the
 * SHA-256 is kept.
 */
const LONGEST = 256;

/** Idempotency keys of the last two minutes, at most `limit`. Beyond it the oldest are forgotten, and counted. */
export class RecentPushIds {
  /** Keys that were forgotten before the two minutes were over. */
  forgotten = 0;
  readonly #limit: number;
  readonly #expiry = new Map<string, number>();

  constructor(limit = 100_000) {
    this.#limit = limit;
  }

  /** Characters of all keys that are kept. */
  get characters(): number {
    let characters = 0;
    for (const key of this.#expiry.keys()) characters += key.length;
    return characters;
  }

  /** Whether the key `whole` was seen in the last two minutes. If not, it is remembered from now on. */
  seen(whole: string, now: number): boolean {
    const key = whole.length > LONGEST ? hash('sha256', whole, 'base64') : whole;
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
