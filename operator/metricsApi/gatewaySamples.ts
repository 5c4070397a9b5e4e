import { BYTES_METRIC, CONNECTIONS_METRIC, type MetricName } from './api.ts';

/** One sample of a gateway. */
export type Sample = {
  /** Time by a monotonic clock, milliseconds. */
  at: number;
  connections?: number | undefined;
  bytesSentTotal?: number | undefined;
};

/** Maximum age of a value, milliseconds: an autoscaler must not act on outdated ones. */
export const MAX_AGE_MS = 20_000;
/** Minimum period of a rate, milliseconds: gateways send in bursts. */
const MIN_WINDOW_MS = 5_000;
/** Maximum period of a rate, milliseconds: a longer one describes the past. */
const MAX_WINDOW_MS = 60_000;
/** More samples than arrive within MIN_WINDOW_MS even if a gateway is polled every second. */
const MAX_SAMPLES = 8;

/** The latest sample of each pod, and earlier ones for rates. Pods without samples for one minute are dropped. */
export class GatewaySamples {
  /** Newest first. The last one is the start of the rate. */
  readonly #known = new Map<string, readonly [Sample, ...Sample[]]>();

  #sweptAt = Number.NEGATIVE_INFINITY;

  /** Adds a sample. @param uid of the pod */
  put(uid: string, sample: Sample): void {
    const known = this.#known.get(uid) ?? [];
    if (known[0] && known[0].at >= sample.at) return;
    const beginning = known.findIndex(({ at }) => sample.at - at >= MIN_WINDOW_MS);
    const kept = known.slice(0, beginning === -1 ? MAX_SAMPLES : beginning + 1);
    this.#known.set(uid, [sample, ...kept]);
    this.#sweep(sample.at);
  }

  /** The value of a metric; undefined if there is none or it is outdated at `now`. */
  value(
    uid: string,
    metric: MetricName,
    now: number,
  ): { value: number; at: number; windowSeconds?: number } | undefined {
    const [last, ...earlier] = this.#known.get(uid) ?? [];
    if (last === undefined || now - last.at > MAX_AGE_MS) return undefined;
    switch (metric) {
      case CONNECTIONS_METRIC:
        return last.connections === undefined ? undefined : { value: last.connections, at: last.at };
      case BYTES_METRIC:
        return rateOf(last, earlier.at(-1));
    }
  }

  get size(): number {
    return this.#known.size;
  }

  #sweep(now: number): void {
    if (now - this.#sweptAt < MAX_WINDOW_MS) return;
    this.#sweptAt = now;
    for (const [uid, [{ at }]] of this.#known) if (now - at > MAX_WINDOW_MS) this.#known.delete(uid);
  }
}

function rateOf(
  last: Sample,
  before: Sample | undefined,
): { value: number; at: number; windowSeconds: number } | undefined {
  const [to, from] = [last.bytesSentTotal, before?.bytesSentTotal];
  // A counter that decreased belongs to a new process, whose first rate needs two samples.
  if (before === undefined || to === undefined || from === undefined || to < from) return undefined;
  const took = last.at - before.at;
  if (took < MIN_WINDOW_MS || took > MAX_WINDOW_MS) return undefined;
  return { value: (to - from) / (took / 1_000), at: last.at, windowSeconds: Math.round(took / 1_000) };
}
