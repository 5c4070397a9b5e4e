import { TICK_MS } from '@pushcluster/runtime/ticker.ts';
import type { Loop } from './loop.ts';

/** From a tick to the sample between it and the next, milliseconds. */
const SAMPLE_MS = TICK_MS / 2;

/**
 * How late timers of this loop run. It is sampled at each tick and half-way between two: each sample wakes an idle shard,
 * and that of node:perf_hooks has a timer of its own beside the ticks.
 */
export class LoopDelay {
  readonly #loop: Pick<Loop, 'now' | 'after'>;
  #tickedAt: number;
  /** Of the sample since the last tick; undefined while it is still to come. */
  #sample: number | undefined;
  #cancel = () => {};

  constructor(loop: Pick<Loop, 'now' | 'after'>) {
    this.#loop = loop;
    this.#tickedAt = loop.now();
    this.#begin();
  }

  /** Call it at each tick. @returns the longest delay since the last one, milliseconds */
  tick(): number {
    const now = this.#loop.now();
    const sample = this.#sample ?? now - this.#tickedAt - SAMPLE_MS;
    const delay = Math.max(0, sample, now - this.#tickedAt - TICK_MS);
    this.#tickedAt = now;
    this.#begin();
    return delay;
  }

  #begin() {
    this.#cancel();
    this.#sample = undefined;
    this.#cancel = this.#loop.after(SAMPLE_MS, () => {
      this.#sample = this.#loop.now() - this.#tickedAt - SAMPLE_MS;
    });
  }
}
