/** A subject, and the tick of its last push. */
export type Subject = { pushed: number };

/**
 * Ticks after the last push of a subject at which its counter is announced. Another push in between announces it as well,
 * so a room with one push per second needs no announcement. The second one is for gateways that missed the first.
 */
const ANNOUNCED_AFTER = [2, 6] as const;
/** Ticks for which an announcement can be repeated: a gateway may be away for as long and still learn what it missed last. */
const REPEATED_FOR = 600;
/** Subjects remembered for that. Beyond it the oldest are forgotten. */
const MAX_REMEMBERED = 100_000;
/** Announcements per tick. The others wait for the next tick. */
const MAX_PER_TICK = 5_000;

type Entry<T> = { subject: T; tick: number };

/**
 * When to announce the counters of subjects: some seconds after their last push. Pure: `tick` is called about once a
 * second.
 */
export class AnnouncementSchedule<T extends Subject> {
  #tick = 0;
  /** In the order of their last push: subjects before the first announcement, before the second, and after it. */
  readonly #stages: Entry<T>[][] = [[], [], []];
  #due = new Set<T>();
  #repeat = false;

  /** There is a push on `subject` now. */
  pushed(subject: T): void {
    if (subject.pushed === this.#tick) return;
    subject.pushed = this.#tick;
    this.#stages[0]!.push({ subject, tick: this.#tick });
  }

  /** Announces once more what was pushed in the last ten minutes, from the next tick on: a gateway was away. */
  repeat(): void {
    this.#repeat = true;
  }

  /** Call for each tick. Returns the subjects to announce now. */
  tick(): T[] {
    this.#tick++;
    const [first, second, announced] = this.#stages as [Entry<T>[], Entry<T>[], Entry<T>[]];
    if (this.#repeat) for (const { subject } of [...announced, ...second]) this.#due.add(subject);
    this.#repeat = false;
    second.push(...this.#take(first, ANNOUNCED_AFTER[0]));
    announced.push(...this.#take(second, ANNOUNCED_AFTER[1]));
    const expired = countUntil(announced, this.#tick - REPEATED_FOR);
    announced.splice(0, Math.max(expired, announced.length - MAX_REMEMBERED));
    const now = [...this.#due].slice(0, MAX_PER_TICK);
    for (const subject of now) this.#due.delete(subject);
    return now;
  }

  /** Takes from `stage` the subjects whose last push is `age` ticks ago, and makes them due. */
  #take(stage: Entry<T>[], age: number): Entry<T>[] {
    const taken = stage
      .splice(0, countUntil(stage, this.#tick - age))
      .filter(({ subject, tick }) => subject.pushed === tick);
    for (const { subject } of taken) this.#due.add(subject);
    return taken;
  }
}

/** How many entries of `stage` had their push at `tick` or before. */
function countUntil<T>(stage: readonly Entry<T>[], tick: number): number {
  const index = stage.findIndex((entry) => entry.tick > tick);
  return index < 0 ? stage.length : index;
}
