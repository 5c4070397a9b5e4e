import type { Registry } from 'prom-client';
import { LATENCY_BUCKETS, type ShardCounts } from '../ipc/counts.ts';
import { BucketHistogram } from './bucketHistogram.ts';

/** The histogram of delivery latency. Shards fill its buckets: one broadcast makes ten thousand observations. */
export class DeliveryLatency extends BucketHistogram {
  /** @param prefix of the metric's name */
  constructor(registry: Registry, prefix: string) {
    super({
      registry,
      name: `${prefix}delivery_latency_seconds`,
      help: 'Time from acceptance by logic to the write to the socket, for each item and connection.',
      buckets: LATENCY_BUCKETS,
    });
  }

  /** Adds what a shard has counted since `before` (undefined: since its start). */
  add(counts: ShardCounts, before: ShardCounts | undefined): void {
    for (const [i, count] of counts.latency.entries()) this.addCount(i, count - (before?.latency[i] ?? 0));
    this.addSum(counts.latencySum - (before?.latencySum ?? 0));
  }
}
