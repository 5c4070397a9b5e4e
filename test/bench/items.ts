import { Comments } from './comments.ts';

/** What an item is: 100 bytes of JSON, or a live comment of about 108 bytes. */
export type ItemKind = 'plain' | 'comment';

export const PLAIN_BYTES = 100;

/**
 * Microseconds of CLOCK_MONOTONIC: the same clock as the client's, so that a send time and its receipt can be
 * subtracted. Only on one machine.
 */
export function stampNow(): number {
  return Math.floor(Number(process.hrtime.bigint()) / 1_000);
}

/** Makes items that the client can count: each begins with its mark (one more than the last) and its send time. */
export class ItemMaker {
  readonly #kind: ItemKind;
  readonly #comments = new Comments();
  #mark = 0;

  constructor(kind: ItemKind) {
    this.#kind = kind;
  }

  /** The mark of the last item. */
  get mark(): number {
    return this.#mark;
  }

  next(stamp: number): string {
    const mark = ++this.#mark;
    if (this.#kind === 'comment') return this.#comments.next(mark, stamp);
    const start = `{"@":${mark},"t":${stamp},"x":"`;
    return `${start.padEnd(PLAIN_BYTES - 2, 'x')}"}`;
  }
}
