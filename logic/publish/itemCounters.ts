import type { Numbering } from './messagePublisher.ts';

/** Subjects counted under one publisher name: about 100 MB with names of rooms of 20 bytes, 500 MB with the longest. */
const MAX_SUBJECTS = 1_000_000;

/** The numbering of one subject. `begun`, `first`, `beat` and `mark` as in protocol/push.ts. */
export type ItemCounter = {
  readonly subject: string;
  readonly publisher: string;
  /** Counter of the next item. */
  next: number;
  readonly begun: number;
  readonly first: number;
  beat: number;
  mark: number;
  /** Tick of the last push (announcementSchedule.ts). */
  pushed: number;
};

/**
 * Numbers the items of each subject from 1. A counter advances only when its items were sent: a refused push leaves no
 * gap, which downstream would count as a loss.
 */
export class ItemCounters {
  readonly #process: string;
  readonly #now: () => number;
  readonly #maxSubjects: number;
  /** Publisher names given up so far. The names of one process differ by this number. */
  #renewals = 0;
  #counters = new Map<string, ItemCounter>();

  /**
   * @param process name of this process, which its heartbeats carry
   * @param now milliseconds since the epoch
   */
  constructor(process: string, now: () => number, maxSubjects = MAX_SUBJECTS) {
    this.#process = process;
    this.#now = now;
    this.#maxSubjects = maxSubjects;
  }

  /** The publisher name that new counters get. */
  get publisher(): string {
    return this.#renewals === 0 ? this.#process : `${this.#process}.${this.#renewals}`;
  }

  /** The counter of `subject`. @param beat number of the last heartbeat */
  of(subject: string, beat: number): ItemCounter {
    let counter = this.#counters.get(subject);
    if (!counter) {
      if (this.#counters.size >= this.#maxSubjects) {
        // A forgotten subject would start at 1 again, which downstream reads as repeats: take another publisher name.
        this.#renewals++;
        this.#counters = new Map();
      }
      const { publisher } = this;
      counter = { subject, publisher, next: 1, begun: this.#now(), first: beat, beat: 0, mark: 1, pushed: -1 };
      this.#counters.set(subject, counter);
    }
    if (counter.beat !== beat) {
      counter.beat = beat;
      counter.mark = counter.next;
    }
    return counter;
  }

  /**
   * Gives up what `counter` has counted from `from` on: it may never have been sent, and the backend will repeat it. The
   * repeat brings the items, so the missing numbers must not be read as a loss: none of them is mentioned again, and the
   * subject is counted from 1 under another publisher name.
   */
  abandon(counter: ItemCounter, from: number): void {
    if (counter.next <= from) return;
    counter.next = from;
    if (this.#counters.get(counter.subject) !== counter) return;
    this.#counters.delete(counter.subject);
    this.#renewals++;
  }
}

/** The header fields of a message whose first item is the next of `counter`. @param at milliseconds since the epoch */
export function numberingOf({ publisher, next, begun, beat, mark, first }: ItemCounter, at: number): Numbering {
  return { publisher, counter: next, at, begun, beat, mark, first };
}
