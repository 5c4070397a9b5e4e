import { MAX_MISSED } from './limits.ts';

type Entry<Item> = { item?: Item | undefined; next?: Entry<Item> };

/** A bounded queue of items for one `for await`. A full queue drops its oldest item. */
export class Queue<Item> implements AsyncIterator<Item, undefined> {
  readonly #limit: number;
  readonly #onReturn: () => void;
  /** The entry before the oldest item: a list, because Array.shift() would move all items of a long queue. */
  #head: Entry<Item> = {};
  #tail = this.#head;
  #size = 0;
  #missed = 0;
  readonly #waiting: ((result: IteratorResult<Item, undefined> | Promise<IteratorResult<Item, undefined>>) => void)[] =
    [];
  #ended: { error?: Error | undefined } | undefined;

  /** @param onReturn called when the reader ends the iteration */
  constructor(limit: number, onReturn: () => void) {
    this.#limit = limit;
    this.#onReturn = onReturn;
  }

  /** @returns whether there are too many */
  push(item: Item, isMissed?: object): boolean {
    this.#tail = this.#tail.next = { item };
    this.#size++;
    if (isMissed && this.#missed < MAX_MISSED) this.#missed++;
    this.#waiting.shift()?.(this.next());
    return this.#isOver();
  }

  /** Drops the oldest items beyond the limit. @returns how many */
  shorten(): number {
    let dropped = 0;
    for (; this.#isOver(); dropped++) this.#shift();
    return dropped;
  }

  #isOver() {
    return this.#size > this.#limit + this.#missed;
  }

  /** Queued items still come, then the end or `error`. */
  end(error?: Error): void {
    this.#ended ??= { error };
    for (const waiting of this.#waiting.splice(0)) waiting(this.next());
  }

  /** Ends it at once: queued items are dropped. */
  discard(): void {
    while (this.#size > 0) this.#shift();
    this.#ended = {};
    this.end();
  }

  async next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#size > 0) return this.#shift();
    if (this.#ended?.error) throw this.#ended.error;
    if (this.#ended) return { value: undefined, done: true };
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<Item, undefined>> {
    this.#onReturn();
    this.discard();
    return this.next();
  }

  #shift(): IteratorResult<Item, undefined> {
    this.#missed = Math.min(this.#missed, --this.#size);
    this.#head = this.#head.next!;
    const value = this.#head.item!;
    this.#head.item = undefined;
    return { value, done: false };
  }
}
