/** A bounded queue of items for one `for await`. A full queue drops its oldest item. */
export class Queue<Item> implements AsyncIterator<Item, undefined> {
  readonly #limit: number;
  readonly #onReturn: () => void;
  #items: (Item | undefined)[] = [];
  /** Index of the oldest item. Array.shift() would move all items of a long queue. */
  #head = 0;
  readonly #waiting: {
    resolve(result: IteratorResult<Item, undefined>): void;
    reject(error: Error): void;
  }[] = [];
  #ended: { error?: Error | undefined } | undefined;

  /** @param onReturn called when the reader ends the iteration */
  constructor(limit: number, onReturn: () => void) {
    this.#limit = limit;
    this.#onReturn = onReturn;
  }

  /** @returns whether the oldest item was dropped */
  push(item: Item): boolean {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: item, done: false });
    else this.#items.push(item);
    if (this.#items.length - this.#head <= this.#limit) return false;
    this.#shift();
    return true;
  }

  /** Queued items still come, then the end or `error`. */
  end(error?: Error): void {
    this.#ended ??= { error };
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (error) reject(error);
      else resolve({ value: undefined, done: true });
    }
  }

  /** Ends it at once: queued items are dropped. */
  discard(): void {
    this.#items = [];
    this.#head = 0;
    this.#ended = {};
    this.end();
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#items.length > this.#head) return Promise.resolve({ value: this.#shift(), done: false });
    if (this.#ended?.error) return Promise.reject(this.#ended.error);
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Item, undefined>> {
    this.#onReturn();
    this.discard();
    return this.next();
  }

  #shift(): Item {
    const item = this.#items[this.#head]!;
    this.#items[this.#head++] = undefined;
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
