/** A subject that is counted, and the tick of its last push. */
export type Counted = { pushed: number };

/**
 * Ticks after the last push of a subject at which its count is told. One push more in between tells it as well, so that
 * a room with a push a second needs none of them; the second is for where the first is lost too.
 */
const TELL_AFTER = [2, 6] as const;
/** Ticks for which a count can be recalled: so long may a gateway have been away and still hear what it missed at the end. */
const RECALLED_FOR = 600;
/** Subjects that are remembered for that, at most: the oldest go. */
const MAX_RECALLED = 100_000;
/** Told in a tick, at most: the others wait for the next. */
const MAX_TOLD = 5_000;

type Entry<T> = { subject: T; tick: number };

/**
 * When the counts of subjects are told that had a push lately: by a later push alone a gateway would never notice that
 * the last one of a room was lost. Pure: `tick` is called about once a second.
 */
export class Beats<T extends Counted> {
  #tick = 0;
  /** In the order of their last push, those that wait for the first telling, the second, and a recall. */
  readonly #stages: Entry<T>[][] = [[], [], []];
  #due = new Set<T>();
  #recall = false;

  /** There is a push on `subject` now. */
  pushed(subject: T): void {
    if (subject.pushed === this.#tick) return;
    subject.pushed = this.#tick;
    this.#stages[0]!.push({ subject, tick: this.#tick });
  }

  /** A gateway was away: what was pushed in the last ten minutes is told once more, from the next tick on. */
  recall(): void {
    this.#recall = true;
  }

  /** The next tick: the subjects whose count is to be told now. */
  tick(): T[] {
    this.#tick++;
    const [soon, later, told] = this.#stages as [Entry<T>[], Entry<T>[], Entry<T>[]];
    if (this.#recall) for (const { subject } of [...told, ...later]) this.#due.add(subject);
    this.#recall = false;
    later.push(...this.#take(soon, TELL_AFTER[0]));
    told.push(...this.#take(later, TELL_AFTER[1]));
    told.splice(0, Math.max(count(told, this.#tick - RECALLED_FOR), told.length - MAX_RECALLED));
    const now = [...this.#due].slice(0, MAX_TOLD);
    for (const subject of now) this.#due.delete(subject);
    return now;
  }

  /** Takes those of `stage` whose last push is `age` ticks ago; they are due. */
  #take(stage: Entry<T>[], age: number): Entry<T>[] {
    const taken = stage
      .splice(0, count(stage, this.#tick - age))
      .filter(({ subject, tick }) => subject.pushed === tick);
    for (const { subject } of taken) this.#due.add(subject);
    return taken;
  }
}

/** How many of `stage` had their push at `tick` or before. */
function count<T>(stage: readonly Entry<T>[], tick: number): number {
  const index = stage.findIndex((entry) => entry.tick > tick);
  return index < 0 ? stage.length : index;
}
