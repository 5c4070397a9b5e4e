import { Histogram, type Registry } from 'prom-client';

export type BucketHistogramOptions = {
  registry: Registry;
  name: string;
  help: string;
  /** Upper bounds, rising. */
  buckets: readonly number[];
};

/**
 * A histogram whose buckets are plain numbers: one observation takes nanoseconds, and many that are alike are one call. A
 * histogram of prom-client takes one observation at a time.
 *
 * Built on internals of prom-client: runtime/README.md, "Internals".
 */
export class BucketHistogram extends Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor({ registry, name, help, buckets }: BucketHistogramOptions) {
    super({ name, help, buckets: [...buckets], registers: [registry] });
    this.#name = name;
    this.#help = help;
    this.#bounds = buckets;
    this.#counts = new Array<number>(buckets.length + 1).fill(0);
  }

  /** Adds an observation. */
  count(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
  }

  /** Adds observations that fell into one bucket, whose sum goes to `addSum`. */
  addCount(bucket: number, count: number): void {
    this.#counts[bucket]! += count;
  }

  addSum(sum: number): void {
    this.#sum += sum;
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
    const buckets = this.#counts.map((count, i) => {
      cumulative += count;
      return line('bucket', cumulative, { le: this.#bounds[i] ?? '+Inf' });
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
