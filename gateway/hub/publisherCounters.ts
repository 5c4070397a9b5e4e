import type { PushHeader } from '@pushcluster/protocol/push.ts';
import type { Mark, PublisherHeartbeats } from './publisherHeartbeats.ts';

/**
 * Publishers kept for one subject: the logic pods of now and of the last rollouts. Beyond it, the longest silent one
 * is forgotten.
 */
const MAX_PUBLISHERS = 64;

/** What the counter of a message reveals. */
export type Verdict = {
  /** Items that were published just before the message, and were lost. */
  gap: number;
  /** Items at the front of the message that came before. */
  repeats: number;
};

/**
 * Counters whose items go no further, since the same push came before through another publisher. Clients are notified
 * with the publisher's next items, so that they do not take the counters for a loss.
 */
export type Skipped = { first: number; count: number };

type Publisher = { readonly name: string; next: number; skipped: Skipped | undefined };

/** The publishers of one subject, and the counter that each should send next: finds losses and repeats. */
export class PublisherCounters {
  readonly #heartbeats: PublisherHeartbeats;
  /** What was published after it is for this subscription. */
  #mark: Mark | undefined;
  /** In the order of their last messages. An array, since a room has few, and a map of one takes 300 bytes. */
  #known: Publisher[] = [];

  /** @param mark of when the subscription came into force, if it did */
  constructor(heartbeats: PublisherHeartbeats, mark?: Mark) {
    this.#heartbeats = heartbeats;
    this.#mark = mark;
  }

  /** The subscription is in force: every message published from now on is for it, also after an interruption. */
  inForce(): void {
    this.#mark ??= this.#heartbeats.mark();
  }

  /** Items that are missing before the message, or, below 0, how many have come from its counter on. */
  ahead(header: PushHeader): number {
    return header.counter - (this.#find(header.publisher)?.next ?? this.#expected(header));
  }

  /** Takes note of a message of `count` items. */
  accept(header: PushHeader, count: number): Verdict {
    const { publisher, counter } = header;
    const known = this.#find(publisher);
    if (known === undefined) {
      const gap = counter - this.#expected(header);
      const added = { name: publisher, next: counter + count, skipped: undefined };
      // An array of one takes no more than its element, while one that grows has room for 17.
      if (this.#known.length === 0) this.#known = [added];
      else this.#known.push(added);
      if (this.#known.length > MAX_PUBLISHERS) this.#forgetOldest();
      return { gap, repeats: 0 };
    }
    if (this.#known.at(-1) !== known) {
      this.#known.splice(this.#known.indexOf(known), 1);
      this.#known.push(known);
    }
    const gap = Math.max(0, counter - known.next);
    const repeats = Math.min(count, Math.max(0, known.next - counter));
    known.next = Math.max(known.next, counter + count);
    return { gap, repeats };
  }

  /** `count` items of a known publisher, from the counter `first` on, go no further. */
  skip(publisher: string, first: number, count: number): void {
    const known = this.#find(publisher);
    if (!known) return;
    const before = known.skipped;
    if (before && before.first + before.count === first) before.count += count;
    else known.skipped = { first, count };
  }

  /** Takes out what was skipped since the publisher's last items. */
  takeSkipped(publisher: string): Skipped | undefined {
    const known = this.#find(publisher);
    const skipped = known?.skipped;
    if (known) known.skipped = undefined;
    return skipped;
  }

  close(): void {
    this.#heartbeats.forget(this.#mark);
  }

  /**
   * The counter of the first item that an unknown publisher published for this subscription; items from there up to the
   * first one received were lost. Example: this subscription came into force after heartbeat 7 of the publisher.
   *
   * - The publisher counts this subject since its heartbeat 9 (`first`): all of its items are for us, from 1 on.
   * - It counts since heartbeat 3, and the item was published after heartbeat 8 (`beat`), when its counter was 40 (`mark`):
   *   items from 40 on are for us for certain.
   * - The item was published after heartbeat 7 or earlier: earlier items may be older than the subscription. None counts
   *   as lost.
   */
  #expected(header: PushHeader): number {
    const { counter, beat, mark, first } = header;
    const before = this.#mark && this.#heartbeats.beatBefore(this.#mark, header);
    if (before === undefined) return counter;
    if (first > before) return 1;
    return beat > before ? mark : counter;
  }

  #find(publisher: string): Publisher | undefined {
    // From the end: the publisher of the last message is mostly that of the next.
    for (let at = this.#known.length - 1; at >= 0; at--) {
      const known = this.#known[at]!;
      if (known.name === publisher) return known;
    }
    return undefined;
  }

  /**
   * Forgets a publisher. If it returns, only items that it publishes from now on can count as lost. Otherwise all its
   * earlier items would.
   */
  #forgetOldest() {
    this.#known.shift();
    if (!this.#mark) return;
    this.#heartbeats.forget(this.#mark);
    this.#mark = this.#heartbeats.mark();
  }
}
