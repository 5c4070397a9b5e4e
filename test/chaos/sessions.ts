import type { Book, Form } from './record.ts';

/**
 * Writes down the connections of a client of a room, each as a client of its own: what one of them is told does not
 * speak of what the others missed.
 */
export class Sessions {
  readonly #family: string;
  readonly #room: string;
  readonly #form: Form;
  readonly #book: Book;
  #count = -1;
  #isOpen = false;

  /** @param family name of the client, which those of its connections begin with */
  constructor(family: string, room: string, form: Form, book: Book) {
    this.#family = family;
    this.#room = room;
    this.#form = form;
    this.#book = book;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get #now() {
    return { client: `${this.#family}#${this.#count}`, room: this.#room };
  }

  /** The JOIN on a connection was answered. @param at address of the gateway */
  begin(at: string): void {
    this.#count++;
    this.#isOpen = true;
    this.#book.add({ type: 'joined', ...this.#now, form: this.#form, at });
  }

  moved(): void {
    if (this.#isOpen) this.#book.add({ type: 'moved', ...this.#now });
  }

  item(item: string, by?: string): void {
    this.#book.add({ type: 'item', ...this.#now, item, ...(by !== undefined && { by }) });
  }

  told(what: 'lagged' | 'gap', items: number): void {
    this.#book.add({ type: 'told', ...this.#now, what, items });
  }

  end(): void {
    if (this.#isOpen) this.#book.add({ type: 'closed', ...this.#now });
    this.#isOpen = false;
  }
}

/** A run of items in a frame: publisher, counter of the first, number of items. */
type Run = readonly [publisher: string, first: number, length: number, ...unknown[]];

/** Names of the publishers of the items of a frame. */
export function publishersOf(items: readonly string[], ids: readonly Run[] = []): Map<string, string> {
  const publishers = new Map<string, string>();
  let at = 0;
  for (const [publisher, , length] of ids) {
    for (const item of items.slice(at, at + length)) publishers.set(item, publisher);
    at += length;
  }
  return publishers;
}
