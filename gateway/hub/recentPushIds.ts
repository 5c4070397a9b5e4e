import { hash } from 'node:crypto';

/** A retry is harmless for this long (contract, section 3), milliseconds. */
const REMEMBERED = 120_000;

/** Characters of a key that is kept as it is: of a longer one (a push to a thousand users has their names in it) its SHA-256 is. */
const LONGEST = 256;

/** Idempotency keys of the last two minutes, at most `limit`: beyond that the oldest go, and are counted. */
export class RecentPushIds {
  /** Keys forgotten before their time. */
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

  /** Whether the key `whole` was seen in the last two minutes; remembers it from now on where not. */
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
