import type { IdRun } from '@pushcluster/protocol/frames.ts';

/** Publishers remembered for one stream: the logic pods of now and of the last rollouts. */
const MAX_PUBLISHERS = 64;

/** `paused`: not heard beyond `end` since the stream goes on after a pause. */
type Seen = { end: number; until: number; paused?: boolean };

/** The last counter delivered from each publisher of one stream: finds repeats and gaps. */
export class Positions {
  readonly #limit: number;
  readonly #forMs: number;
  readonly #last = new Map<string, Seen>();

  /** @param forMs milliseconds for which a publisher is remembered from its first run on */
  constructor(limit = MAX_PUBLISHERS, forMs = 1e15) {
    this.#limit = limit;
    this.#forMs = forMs;
  }

  /** Goes on after a pause: what came before comes no more, and what was published meanwhile was not for us. */
  resume(): this {
    for (const seen of this.#last.values()) seen.paused = true;
    return this;
  }

  /**
   * Takes a run as delivered, at `now` (milliseconds of a clock that never goes back). Says how many of its first items
   * are repeats, and how many never came before it.
   */
  advance([publisher, first, length, skipped]: IdRun, now = performance.now()): { repeats: number; missed: number } {
    const last = this.#last;
    const known = last.get(publisher);
    const seen: Seen = known && known.until > now ? known : { end: first - 1, until: now + this.#forMs };
    // Deleted and set again: the map's order is by last seen, and the longest silent goes.
    last.delete(publisher);
    last.set(publisher, seen);
    if (last.size > this.#limit) last.delete(last.keys().next().value!);
    const ahead = first - seen.end - 1;
    const missed = seen.paused ? 0 : Math.max(0, ahead);
    // A run without items says how many there would have been.
    const end = first + (length || Number(skipped)) - 1;
    if (end > seen.end) {
      seen.end = end;
      seen.paused = false;
    }
    return { repeats: Math.min(length, Math.max(0, -ahead)), missed };
  }

  /** Whether every item of `runs` was delivered before. */
  covers(runs: readonly IdRun[]): boolean {
    return runs.every(([publisher, first, length]) => first + length - 1 <= (this.#last.get(publisher)?.end ?? -1));
  }
}
