import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';

/** Places at which an error is kept from ending the hub's process: the values of a metric's label. */
export const GUARDED = ['bus', 'publish', 'shard', 'timer'] as const;
export type Guarded = (typeof GUARDED)[number];

/** Each place logs an error once in this time, milliseconds. All are counted. */
const REPEAT_LOG_MS = 60_000;

/**
 * Keeps the error of one event (a message of the bus or of a shard, a timer) from all others: a gateway that ends
 * closes all its connections. Each error is counted. Each place logs one per minute.
 */
export class ExceptionGuard {
  readonly #log: Logger;
  readonly #count: (place: Guarded) => void;
  readonly #now: () => number;
  readonly #logged = new Map<Guarded, number>();

  /** @param now milliseconds of a clock that never goes back */
  constructor(log: Logger, count: (place: Guarded) => void, now: () => number = () => systemClock.now()) {
    this.#log = log;
    this.#count = count;
    this.#now = now;
  }

  /** Calls `run` and catches what it throws. */
  run(place: Guarded, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.caught(place, error);
    }
  }

  /** Counts and logs an error that the caller has caught. */
  caught(place: Guarded, error: unknown): void {
    this.#count(place);
    const last = this.#logged.get(place);
    if (last !== undefined && this.#now() - last < REPEAT_LOG_MS) return;
    this.#logged.set(place, this.#now());
    this.#log.error({ err: error, code: place }, 'an event handler failed; the process goes on');
  }
}
