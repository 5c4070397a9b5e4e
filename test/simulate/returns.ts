import type { Chance } from '../harness/chance.ts';

/** Clients without a connection, by the time of their next attempt and the number of their failed attempts. */
export class Returns {
  readonly #step: number;
  /** For each step of the simulation: the number of clients by their number of failed attempts. */
  readonly #due = new Map<number, number[]>();
  #away = 0;

  /** @param step milliseconds */
  constructor(step: number) {
    this.#step = step;
  }

  get away(): number {
    return this.#away;
  }

  /**
   * Schedules the next attempt of `count` clients at random times within `window` milliseconds after `now`. `failures`
   * of their attempts have failed by then.
   */
  spread(now: number, window: number, count: number, failures: number, chance: Chance): void {
    if (count === 0) return;
    const first = Math.round(now / this.#step) + 1;
    for (const [i, part] of chance.split(count, Math.max(1, Math.round(window / this.#step))).entries()) {
      if (part === 0) continue;
      const due = this.#due.get(first + i) ?? [];
      due[failures] = (due[failures] ?? 0) + part;
      this.#due.set(first + i, due);
    }
    this.#away += count;
  }

  /** Removes and returns the clients whose attempt is due now, by their number of failed attempts. */
  take(now: number): number[] {
    const step = Math.round(now / this.#step);
    const due = Array.from(this.#due.get(step) ?? [], (count) => count ?? 0);
    this.#due.delete(step);
    for (const count of due) this.#away -= count;
    return due;
  }
}
