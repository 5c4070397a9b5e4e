import type { TestContext } from 'node:test';

const TICK_MS = 5;

/**
 * Measures how late timers fire on this machine, with a timer of the test's process that competes for the processor
 * like the measured programs. Tests add this lateness to a documented deadline. Stop the measurement at the end of the
 * test.
 */
export class Lateness {
  readonly #timer: NodeJS.Timeout;
  #due = performance.now() + TICK_MS;
  #longest = 0;
  #total = 0;

  /** Measures until the end of a test. */
  static during(t: TestContext): Lateness {
    const lateness = new Lateness();
    t.after(() => lateness.stop());
    return lateness;
  }

  constructor() {
    this.#timer = setInterval(() => this.#look(), TICK_MS);
    this.#timer.unref();
  }

  /** The greatest lateness of the timer, milliseconds. */
  get longest(): number {
    this.#look();
    return this.#longest;
  }

  /**
   * The sum of all lateness of the timer, milliseconds: the time that the measured work may have lost to other
   * processes.
   */
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
