import type { IdRun } from '@pushcluster/protocol/frames.ts';

/** Publishers remembered for one stream: the logic pods of now and of the last rollouts. */
const MAX_PUBLISHERS = 64;

/** The last counter delivered from each publisher of one stream: finds repeats and gaps. */
export class Positions {
  readonly #limit: number;
  readonly #forMs: number;
  readonly #last = new Map<string, { end: number; until: number }>();

  /** @param forMs milliseconds for which a publisher is remembered from its first run on */
  constructor(limit = MAX_PUBLISHERS, forMs = 1e15) {
    this.#limit = limit;
    this.#forMs = forMs;
  }

  /**
   * Takes a run as delivered, at `now` (milliseconds of a clock that never goes back). Says how many of its first items
   * are repeats, and how many never came before it.
   */
  advance([publisher, first, length, skipped]: IdRun, now = performance.now()): { repeats: number; missed: number } {
    const last = this.#last;
    const known = last.get(publisher);
    const seen = known && known.until > now ? known : { end: first - 1, until: now + this.#forMs };
    // Deleted and set again: the map's order is by last seen, and the longest silent goes.
    last.delete(publisher);
    last.set(publisher, seen);
    if (last.size > this.#limit) last.delete(last.keys().next().value!);
    const ahead = first - seen.end - 1;
    // A run without items says how many there would have been.
    seen.end = Math.max(seen.end, first + (length || Number(skipped)) - 1);
    return { repeats: Math.min(length, Math.max(0, -ahead)), missed: Math.max(0, ahead) };
  }

  /** Whether every item of `runs` was delivered before. */
  covers(runs: readonly IdRun[]): boolean {
    return runs.every(([publisher, first, length]) => first + length - 1 <= (this.#last.get(publisher)?.end ?? -1));
  }
}
