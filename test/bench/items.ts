import { Comments } from './comments.ts';

/** The kind of an item: 100 bytes of JSON, or a live comment of about 108 bytes. */
export type ItemKind = 'plain' | 'comment';

export const PLAIN_BYTES = 100;

/**
 * Microseconds of CLOCK_MONOTONIC, the clock of the client. Send and receive times of the same machine can be
 * subtracted.
 */
export function stampNow(): number {
  return Math.floor(Number(process.hrtime.bigint()) / 1_000);
}

/** Makes items that the client can count: each begins with its mark (the previous mark plus 1) and its send time. */
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
