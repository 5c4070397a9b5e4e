import type { PushHeader } from '@pushcluster/protocol/push.ts';
import { beatBefore, type Heartbeats, type Mark } from './heartbeats.ts';

/** Publishers remembered for one subject: the logic pods of now and of the last rollouts. The longest silent goes. */
const MAX_PUBLISHERS = 64;

/** What a message's counter says of the messages before it. */
export type Verdict = {
  /** Items that were published before it and never came. */
  gap: number;
  /** Items at its front that came before. */
  repeats: number;
};

/** Counters whose items go no further, since they came before by another way: told with the publisher's next items. */
export type Skipped = { first: number; count: number };

type Publisher = { next: number; skipped: Skipped | undefined };

/** The publishers of one subject and the counter that each should send next: finds gaps and repeats. */
export class Publishers {
  readonly #heartbeats: Heartbeats;
  /** What was published after it is for us. */
  #mark: Mark | undefined;
  readonly #known = new Map<string, Publisher>();

  constructor(heartbeats: Heartbeats) {
    this.#heartbeats = heartbeats;
  }

  /** The subscription is in force: from now on every message is for us. What comes after an interruption still is. */
  inForce(): void {
    this.#mark ??= this.#heartbeats.mark();
  }

  /** Judges a message of `count` items and remembers it. */
  accept(header: PushHeader, count: number): Verdict {
    const { publisher, counter } = header;
    const known = this.#known.get(publisher);
    if (known === undefined) {
      const gap = counter - this.#expected(header);
      this.#known.set(publisher, { next: counter + count, skipped: undefined });
      if (this.#known.size > MAX_PUBLISHERS) this.#forgetOldest();
      return { gap, repeats: 0 };
    }
    // Deleted and set again: the map's order is by last heard.
    this.#known.delete(publisher);
    this.#known.set(publisher, known);
    const gap = Math.max(0, counter - known.next);
    const repeats = Math.min(count, Math.max(0, known.next - counter));
    known.next = Math.max(known.next, counter + count);
    return { gap, repeats };
  }

  /** `count` items from `first` on go no further. */
  skip(publisher: string, first: number, count: number): void {
    const known = this.#known.get(publisher);
    if (!known) return;
    const before = known.skipped;
    if (before && before.first + before.count === first) before.count += count;
    else known.skipped = { first, count };
  }

  /** What was skipped since the publisher's last items. */
  takeSkipped(publisher: string): Skipped | undefined {
    const known = this.#known.get(publisher);
    const skipped = known?.skipped;
    if (known) known.skipped = undefined;
    return skipped;
  }

  close(): void {
    this.#heartbeats.forget(this.#mark);
  }

  /** The counter with which a publisher that is not known here would have begun for us. */
  #expected({ publisher, counter, beat, mark, first }: PushHeader): number {
    const before = this.#mark && beatBefore(this.#mark, publisher);
    if (before === undefined) return counter;
    if (first > before) return 1;
    return beat > before ? mark : counter;
  }

  /** From now on only what was published after this moment is looked for: else what it sent before would seem lost. */
  #forgetOldest() {
    this.#known.delete(this.#known.keys().next().value!);
    if (!this.#mark) return;
    this.#heartbeats.forget(this.#mark);
    this.#mark = this.#heartbeats.mark();
  }
}
