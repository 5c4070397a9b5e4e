import type { IdRun } from '@pushcluster/protocol/frames.ts';
import { MAX_PUBLISHERS } from './limits.ts';

/**
 * `end`: counter of the last delivered item. `until`: when it is forgotten, by the clock's `now`. `paused`: nothing beyond
 * `end` has come since resume().
 */
type Seen = { end: number; until: number; paused?: boolean };

/** The last delivered counter of each publisher of one stream. It tells repeats and gaps. */
export class Positions {
  readonly #limit: number;
  readonly #forMs: number;
  readonly #last = new Map<string, Seen>();

  /**
   * @param limit publishers remembered at a time
   * @param forMs how long a publisher is remembered after its first run, milliseconds; default: for ever
   */
  constructor(limit = MAX_PUBLISHERS, forMs = 1 / 0) {
    this.#limit = limit;
    this.#forMs = forMs;
  }

  /** The stream starts again after a pause: earlier items are repeats, and items of the pause are no gap. */
  resume(): this {
    for (const seen of this.#last.values()) seen.paused = true;
    return this;
  }

  /**
   * Counts a run as delivered, at `now` (milliseconds, by the clock's `now`).
   *
   * @returns how many of the run's first items are repeats, and how many items before it never came
   */
  advance([publisher, first, length, skipped]: IdRun, now: number): { repeats: number; missed: number } {
    const last = this.#last;
    const known = last.get(publisher);
    const seen: Seen = known && known.until > now ? known : { end: first - 1, until: now + this.#forMs };
    // Deleted and set again: the map is in the order of the last run, and the publisher that was silent longest is dropped.
    last.delete(publisher);
    last.set(publisher, seen);
    if (last.size > this.#limit) last.delete(last.keys().next().value!);
    const ahead = first - seen.end - 1;
    const missed = seen.paused ? 0 : Math.max(0, ahead);
    // A run without items says how many items it stands for.
    const end = first + (length || Number(skipped)) - 1;
    if (end > seen.end) {
      seen.end = end;
      seen.paused = false;
    }
    return { repeats: Math.min(length, Math.max(0, -ahead)), missed };
  }
}
