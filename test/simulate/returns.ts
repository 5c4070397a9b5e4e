import type { Chance } from './chance.ts';

/** People who have no connection, by when they try again, and how often they failed. */
export class Returns {
  readonly #step: number;
  /** By step: people by failures. */
  readonly #due = new Map<number, number[]>();
  #away = 0;

  /** @param step milliseconds */
  constructor(step: number) {
    this.#step = step;
  }

  get away(): number {
    return this.#away;
  }

  /** `count` try again at random moments within `window` milliseconds after `now`; `failures` attempts will have failed by then. */
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

  /** Those whose time has come, by failures. They count as away no more. */
  take(now: number): number[] {
    const step = Math.round(now / this.#step);
    const due = Array.from(this.#due.get(step) ?? [], (count) => count ?? 0);
    this.#due.delete(step);
    for (const count of due) this.#away -= count;
    return due;
  }
}
