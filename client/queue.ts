type Entry<Item> = { item?: Item | undefined; next?: Entry<Item> };

/** A bounded queue of items for one `for await`. A full queue drops its oldest item. */
export class Queue<Item> implements AsyncIterator<Item, undefined> {
  readonly #limit: number;
  readonly #onReturn: () => void;
  /** The entry before the oldest item: a list, because Array.shift() would move all items of a long queue. */
  #head: Entry<Item> = {};
  #tail = this.#head;
  #size = 0;
  readonly #waiting: ((result: IteratorResult<Item, undefined> | Promise<IteratorResult<Item, undefined>>) => void)[] =
    [];
  #ended: { error?: Error | undefined } | undefined;

  /** @param onReturn called when the reader ends the iteration */
  constructor(limit: number, onReturn: () => void) {
    this.#limit = limit;
    this.#onReturn = onReturn;
  }

  /** @returns whether the oldest item was dropped */
  push(item: Item): boolean {
    this.#tail = this.#tail.next = { item };
    this.#size++;
    const waiting = this.#waiting.shift();
    if (waiting) waiting(this.#shift());
    if (this.#size <= this.#limit) return false;
    this.#shift();
    return true;
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
    this.#size--;
    this.#head = this.#head.next!;
    const value = this.#head.item!;
    this.#head.item = undefined;
    return { value, done: false };
  }
}
