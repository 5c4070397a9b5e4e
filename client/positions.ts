import type { IdRun } from '@pushcluster/protocol/frames.ts';

/** Publishers remembered for one stream: the logic pods of now and of the last rollouts. */
const MAX_PUBLISHERS = 64;

/** The last counter delivered from each publisher of one stream: finds repeats and gaps. */
export class Positions {
  readonly #last = new Map<string, number>();

  /** Takes a run as delivered. Says how many of its first items are repeats, and how many never came before it. */
  advance([publisher, first, length]: IdRun): { repeats: number; missed: number } {
    const last = this.#last.get(publisher);
    const end = first + length - 1;
    // Deleted and set again: the map's order is by last seen, and the longest silent goes.
    this.#last.delete(publisher);
    this.#last.set(publisher, last === undefined ? end : Math.max(last, end));
    if (last === undefined) {
      if (this.#last.size > MAX_PUBLISHERS) this.#last.delete(this.#last.keys().next().value!);
      return { repeats: 0, missed: 0 };
    }
    return { repeats: Math.min(length, Math.max(0, last - first + 1)), missed: Math.max(0, first - last - 1) };
  }

  /** Whether every item of `runs` was delivered before. */
  covers(runs: readonly IdRun[]): boolean {
    return runs.every(([publisher, first, length]) => first + length - 1 <= (this.#last.get(publisher) ?? -1));
  }
}
