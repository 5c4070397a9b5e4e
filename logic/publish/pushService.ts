import type { Target } from '@pushcluster/protocol/api.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { TokenBucket } from '@pushcluster/runtime/tokenBucket.ts';
import { Problem, retryAfterHeader } from '../errors/problem.ts';
import { checkItems, type PushLimits } from '../items/pushLimits.ts';
import type { Metrics } from '../metrics.ts';
import type { Publisher, PublishOptions } from './publisher.ts';
import type { Published } from './roomFanOut.ts';

/** `Retry-After` while urgent pushes are turned off, seconds: the setting may change. */
const RETRY_TURNED_OFF_S = 60;

/** Handles a push, whichever API it came by: checks its limits, publishes it, and counts it in the metrics. */
export class PushService {
  readonly #publisher: Publisher;
  readonly #urgent: TokenBucket;
  readonly #metrics: Metrics;
  readonly #limits: () => PushLimits;

  /** @param urgent rate limit of urgent pushes */
  constructor(publisher: Publisher, urgent: TokenBucket, metrics: Metrics, limits: () => PushLimits) {
    this.#publisher = publisher;
    this.#urgent = urgent;
    this.#metrics = metrics;
    this.#limits = limits;
  }

  /**
   * Resolves with the rooms that failed, if others did not, and the positions in histories. Rejects with a Problem or an error of the bus if nothing was
   * confirmed.
   */
  async push(target: Target, items: readonly Uint8Array[], options: PublishOptions): Promise<Published> {
    checkItems(items, this.#limits());
    if (options.urgent) this.#takeUrgent();
    const began = systemClock.now();
    const { goPush } = this.#metrics;
    try {
      const published = await this.#publisher.publish(target, items, options);
      const reached = target.type === 'rooms' ? target.rooms.length - published.failures.length : 1;
      this.#metrics.published(target.type, items.length * reached, (systemClock.now() - began) / 1_000);
      goPush.DispatchTotal += items.length;
      return published;
    } catch (error) {
      if (error instanceof BusUnconfirmed) goPush.PushFail++;
      else if (error instanceof BusUnavailable) goPush.DispatchFail += items.length;
      throw error;
    }
  }

  #takeUrgent() {
    const wait = this.#urgent.take(systemClock.now());
    if (wait === 0) return;
    if (wait === Number.POSITIVE_INFINITY)
      throw new Problem('urgent_rate', 'Urgent pushes are turned off (logic.urgentRate). Push without urgent.', {
        headers: retryAfterHeader(RETRY_TURNED_OFF_S),
      });
    throw new Problem('urgent_rate', 'Too many urgent pushes per second. Try again, or push without urgent.', {
      headers: retryAfterHeader(wait),
    });
  }
}
