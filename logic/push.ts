import type { Target } from '@pushcluster/protocol/api.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { checkItems } from './items.ts';
import type { Metrics } from './metrics.ts';
import { Problem, retryAfter } from './problems.ts';
import type { Publisher, PublishOptions } from './publish/publisher.ts';
import type { RoomFailure } from './publish/roomFanOut.ts';
import type { TokenBucket } from './tokenBucket.ts';

export type Limits = { items: number; item: number };

/** One push, whatever API it came by: limits, then the bus, counted. */
export class Pushes {
  readonly #publisher: Publisher;
  readonly #urgent: TokenBucket;
  readonly #metrics: Metrics;
  readonly #limits: () => Limits;

  constructor(publisher: Publisher, urgent: TokenBucket, metrics: Metrics, limits: () => Limits) {
    this.#publisher = publisher;
    this.#urgent = urgent;
    this.#metrics = metrics;
    this.#limits = limits;
  }

  /** Resolves with the rooms that failed where others did not. Rejects with a Problem or a bus error where nothing was confirmed. */
  async push(target: Target, items: readonly Uint8Array[], options: PublishOptions): Promise<RoomFailure[]> {
    checkItems(items, this.#limits());
    if (options.urgent) this.#takeUrgent();
    const began = performance.now();
    const { goPush } = this.#metrics;
    try {
      const failures = await this.#publisher.publish(target, items, options);
      const reached = target.type === 'rooms' ? target.rooms.length - failures.length : 1;
      this.#metrics.published(target.type, items.length * reached, (performance.now() - began) / 1_000);
      goPush.DispatchTotal += items.length;
      return failures;
    } catch (error) {
      if (error instanceof BusUnconfirmed) goPush.PushFail++;
      else if (error instanceof BusUnavailable) goPush.DispatchFail += items.length;
      throw error;
    }
  }

  #takeUrgent() {
    const wait = this.#urgent.take();
    if (wait === 0) return;
    if (wait === Number.POSITIVE_INFINITY)
      throw new Problem('urgent_rate', 'Urgent pushes are turned off here; push without urgent.', {
        headers: retryAfter(60),
      });
    throw new Problem('urgent_rate', 'Too many urgent pushes a second; try again, or push without urgent.', {
      headers: retryAfter(wait),
    });
  }
}
