import { Histogram, type Registry } from 'prom-client';
import { LATENCY_BUCKETS, type ShardCounts } from '../ipc/counts.ts';

/**
 * The histogram of delivery latency. Shards fill its buckets: a histogram of prom-client takes one observation at a time,
 * and one broadcast makes ten thousand.
 *
 * Built on internals of prom-client: runtime/README.md, "Internals".
 */
export class DeliveryLatency extends Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #buckets = new Array<number>(LATENCY_BUCKETS.length + 1).fill(0);
  #sum = 0;

  /** @param prefix of the metric's name */
  constructor(registry: Registry, prefix: string) {
    const name = `${prefix}delivery_latency_seconds`;
    const help = 'Time from acceptance by logic to the write to the socket, for each item and connection.';
    super({ name, help, buckets: [...LATENCY_BUCKETS], registers: [registry] });
    this.#name = name;
    this.#help = help;
  }

  /** Adds what a shard has counted since `before` (undefined: since its start). */
  add(counts: ShardCounts, before: ShardCounts | undefined): void {
    for (const [i, count] of counts.latency.entries()) this.#buckets[i]! += count - (before?.latency[i] ?? 0);
    this.#sum += counts.latencySum - (before?.latencySum ?? 0);
  }

  /** The registry writes this, and `get` of the base class uses it. The types of prom-client do not declare it. */
  async getForPromString() {
    const line = (suffix: string, value: number, labels: { le?: number | string } = {}) => ({
      metricName: `${this.#name}_${suffix}`,
      value,
      labels,
      sharedLabels: {},
    });
    let cumulative = 0;
    const buckets = this.#buckets.map((count, i) => {
      cumulative += count;
      return line('bucket', cumulative, { le: LATENCY_BUCKETS[i] ?? '+Inf' });
    });
    return {
      name: this.#name,
      help: this.#help,
      type: 'histogram',
      aggregator: 'sum',
      values: [...buckets, line('sum', this.#sum), line('count', cumulative)],
    };
  }
}
