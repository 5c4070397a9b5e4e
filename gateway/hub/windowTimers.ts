import type { Clock } from '@pushcluster/runtime/clock.ts';

/**
 * Windows that end within this time of each other end together, milliseconds: a wake-up of the hub, and of each shard,
 * costs more than the few frames of small rooms.
 */
const TICK_MS = 4;

/** The tick of what is about to run. */
const NOW = -1;

/** What is due at a time. */
export type Due = { tick: number | undefined };

/**
 * One timer for the windows of all channels, in place of one for each: a wheel with a spoke for each tick in which a window
 * ends. A window ends up to TICK_MS late, and never early.
 */
export class WindowTimers<T extends Due> {
  readonly #clock: Clock;
  readonly #run: (due: T) => void;
  /** By tick. One that was cancelled, or set anew, stays until its tick, and is passed over then. */
  readonly #spokes = new Map<number, T[]>();
  /** The tick for which the clock is set. */
  #next = Number.POSITIVE_INFINITY;
  #cancel = () => {};

  constructor(clock: Clock, run: (due: T) => void) {
    this.#clock = clock;
    this.#run = run;
  }

  /** Calls `run` with it at `time`, in place of when it was set to before. */
  set(due: T, time: number): void {
    const tick = Math.ceil(time / TICK_MS);
    if (due.tick === tick) return;
    due.tick = tick;
    const spoke = this.#spokes.get(tick);
    if (spoke) {
      spoke.push(due);
      return;
    }
    this.#spokes.set(tick, [due]);
    if (tick < this.#next) this.#wait(tick);
  }

  cancel(due: T): void {
    due.tick = undefined;
  }

  #wait(tick: number) {
    this.#cancel();
    this.#next = tick;
    this.#cancel = this.#clock.after(Math.max(0, tick * TICK_MS - this.#clock.now()), () => this.#turn());
  }

  #turn() {
    const now = this.#clock.now();
    const ticks = [...this.#spokes.keys()].filter((tick) => tick === this.#next || tick * TICK_MS <= now);
    const due: T[] = [];
    for (const tick of ticks.sort((a, b) => a - b)) {
      for (const one of this.#spokes.get(tick) ?? []) {
        if (one.tick !== tick) continue;
        one.tick = NOW;
        due.push(one);
      }
      this.#spokes.delete(tick);
    }
    this.#waitForNext();
    this.#runAll(due);
  }

  #runAll(due: readonly T[]) {
    let done = 0;
    try {
      for (; done < due.length; done++) {
        const one = due[done]!;
        // One that ran before it may have cancelled it or set it anew.
        if (one.tick !== NOW) continue;
        one.tick = undefined;
        this.#run(one);
      }
    } finally {
      // An error costs none but the one whose it is.
      const rest = due.slice(done + 1);
      if (rest.length > 0) this.#clock.after(0, () => this.#runAll(rest));
    }
  }

  #waitForNext() {
    let next = Number.POSITIVE_INFINITY;
    for (const tick of this.#spokes.keys()) next = Math.min(next, tick);
    this.#next = next;
    if (next !== Number.POSITIVE_INFINITY) this.#wait(next);
  }
}
