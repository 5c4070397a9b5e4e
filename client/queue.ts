/** A bounded queue of items for one `for await`: what it can't hold goes, oldest first. */
export class Queue<Item> implements AsyncIterableIterator<Item, undefined> {
  readonly #limit: number;
  readonly #onReturn: () => void;
  readonly #items: Item[] = [];
  readonly #waiting: {
    resolve(result: IteratorResult<Item, undefined>): void;
    reject(error: Error): void;
  }[] = [];
  #ended: { error?: Error | undefined } | undefined;

  constructor(limit: number, onReturn: () => void) {
    this.#limit = limit;
    this.#onReturn = onReturn;
  }

  /** Whether an older item had to go. */
  push(item: Item): boolean {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: item, done: false });
    else this.#items.push(item);
    if (this.#items.length <= this.#limit) return false;
    this.#items.shift();
    return true;
  }

  /** What is queued still comes, then the end, or the error. */
  end(error?: Error): void {
    this.#ended ??= { error };
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (error) reject(error);
      else resolve({ value: undefined, done: true });
    }
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#items.length > 0) return Promise.resolve({ value: this.#items.shift()!, done: false });
    if (this.#ended?.error) return Promise.reject(this.#ended.error);
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Item, undefined>> {
    this.#onReturn();
    this.#items.length = 0;
    this.end();
    return this.next();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
