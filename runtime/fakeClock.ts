import type { Clock } from './clock.ts';

type Timer = { at: number; run: () => void };

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  #now = 0;
  #epoch = Date.UTC(2026, 0, 1);
  #timers = new Set<Timer>();
  #soon: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#epoch + this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Runs one turn of the event loop. False if there was nothing to run. */
  turn(): boolean {
    const runs = this.#soon.splice(0);
    for (const run of runs) run();
    return runs.length > 0;
  }

  /** Advances by `ms`. Timers run at their own times and in their order, with the turns of the loop between them. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      while (this.turn());
      const next = this.#next(end);
      if (!next) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** Advances by `ms` in steps of `step` ms. Promises that timers resolve get their turns after each step. */
  async pass(ms: number, step = 100): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.advance(Math.min(step, left));
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Advances by `ms` without running a timer: the process was busy, or stopped. */
  freeze(ms: number): void {
    this.#now += ms;
  }

  /** Sets the wall clock forward by `ms`, or back. `now()` and timers do not notice. */
  step(ms: number): void {
    this.#epoch += ms;
  }

  #next(end: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (timer.at <= end && (!next || timer.at < next.at)) next = timer;
    return next;
  }
}
