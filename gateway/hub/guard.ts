import type { Logger } from '@pushcluster/runtime/log.ts';

/** Where the hub's process keeps an error from ending it. */
export const GUARDED = ['bus', 'publish', 'shard', 'timer'] as const;
export type Guarded = (typeof GUARDED)[number];

/** An error is logged again after this long, milliseconds; the count goes on. */
const REPEAT_LOG_MS = 60_000;

/**
 * Keeps what one event throws (a message of the bus or of a shard, a timer) from the others: a gateway that ends takes
 * all its connections with it. Each error is counted; each place logs one a minute.
 */
export class Guard {
  readonly #log: Logger;
  readonly #count: (place: Guarded) => void;
  readonly #now: () => number;
  readonly #logged = new Map<Guarded, number>();

  /** @param now milliseconds of a clock that never goes back */
  constructor(log: Logger, count: (place: Guarded) => void, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#count = count;
    this.#now = now;
  }

  /** Calls `run`; what it throws goes no further. */
  run(place: Guarded, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.caught(place, error);
    }
  }

  /** An error that was kept from going further. */
  caught(place: Guarded, error: unknown): void {
    this.#count(place);
    const last = this.#logged.get(place);
    if (last !== undefined && this.#now() - last < REPEAT_LOG_MS) return;
    this.#logged.set(place, this.#now());
    this.#log.error({ err: error, code: place }, 'an error cost one event');
  }
}
