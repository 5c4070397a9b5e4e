import type { PushHeader } from '@pushcluster/protocol/push.ts';

/** Publishers remembered for one subject: the logic pods of now and of the last rollouts. The longest silent goes. */
const MAX_PUBLISHERS = 64;

/** What a message's counter says of the messages before it. */
export type Verdict = {
  /** Items that were published before it and never came. */
  gap: number;
  /** Items at its front that came before. */
  repeats: number;
};

/** The publishers of one subject and the counter that each should send next: finds gaps and repeats. */
export class Publishers {
  /** From when on every message was for us, milliseconds since the epoch: the subscription was known to the server. */
  since = Number.POSITIVE_INFINITY;
  readonly #next = new Map<string, number>();
  #forgot = false;

  /** Judges a message of `count` items and remembers it. */
  accept(header: PushHeader, count: number): Verdict {
    const expected = this.#next.get(header.publisher);
    const end = header.counter + count;
    if (expected !== undefined) this.#next.delete(header.publisher);
    this.#next.set(header.publisher, Math.max(expected ?? 0, end));
    if (expected === undefined) {
      if (this.#next.size > MAX_PUBLISHERS) this.#forgetOldest();
      // A publisher that began after we subscribed: what it counted before this message was for us too.
      const all = header.begun > this.since && !this.#forgot;
      return { gap: all ? header.counter - 1 : 0, repeats: 0 };
    }
    if (header.counter >= expected) return { gap: header.counter - expected, repeats: 0 };
    return { gap: 0, repeats: Math.min(count, expected - header.counter) };
  }

  #forgetOldest() {
    const [oldest] = this.#next.keys();
    this.#next.delete(oldest!);
    this.#forgot = true;
  }
}
