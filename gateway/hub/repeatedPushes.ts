import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { RecentPushIds } from './recentPushIds.ts';

export type PushRetriesOptions = {
  clock: Pick<Clock, 'now'>;
  metrics: Pick<GatewayMetrics, 'idempotencyForgotten' | 'repeats'>;
};

/** Finds pushes that a backend repeats with the same idempotency key, through this logic pod or another. */
export class RepeatedPushes {
  readonly #options: PushRetriesOptions;
  readonly #recent = new RecentPushIds();

  constructor(options: PushRetriesOptions) {
    this.#options = options;
  }

  /**
   * Whether a push with this key went to the same channel or users in the last two minutes. From now on it did.
   * @param id the idempotency key; '' for a push without one, which never repeats
   */
  repeated(target: string, id: string): boolean {
    if (id === '') return false;
    const { clock, metrics } = this.#options;
    const forgotten = this.#recent.forgotten;
    // Ids are others' choice until version 3, and names always: their lengths keep two pairs apart.
    const seen = this.#recent.seen(`${target.length}:${target}${id}`, clock.now());
    if (this.#recent.forgotten > forgotten) metrics.idempotencyForgotten.inc();
    if (seen) metrics.repeats.inc();
    return seen;
  }
}
