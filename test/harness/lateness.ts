import type { TestContext } from 'node:test';

const TICK_MS = 5;

/**
 * How late this machine is, by a reference of the same run: a timer of this process, which wants its turn as those do that are
 * measured. A deadline that a document promises is asserted with that on top. Stop it at the end.
 */
export class Lateness {
  readonly #timer: NodeJS.Timeout;
  #due = performance.now() + TICK_MS;
  #longest = 0;
  #total = 0;

  /** Until the end of a test. */
  static during(t: TestContext): Lateness {
    const lateness = new Lateness();
    t.after(() => lateness.stop());
    return lateness;
  }

  constructor() {
    this.#timer = setInterval(() => this.#look(), TICK_MS);
    this.#timer.unref();
  }

  /** By how much it came late the worst time, milliseconds. */
  get longest(): number {
    this.#look();
    return this.#longest;
  }

  /** By how much it came late in sum, milliseconds: what all that was done meanwhile may have lost to others. */
  get total(): number {
    this.#look();
    return this.#total;
  }

  stop(): void {
    this.#look();
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const late = now - this.#due;
    if (late < 0) return;
    this.#total += late;
    this.#longest = Math.max(this.#longest, late);
    this.#due = now + TICK_MS;
  }
}
