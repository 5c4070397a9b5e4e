import { BYTES_METRIC, CONNECTIONS_METRIC, type MetricName } from './api.ts';

/** What a gateway said of itself. */
export type Sample = {
  /** When, in milliseconds of a clock that is never set. */
  at: number;
  connections?: number | undefined;
  bytesSentTotal?: number | undefined;
};

/** Older than this it is not told any more: a scaler must not act on what was. */
export const MAX_AGE_MS = 20_000;
/** A rate over less is mostly noise: gateways send in bursts. */
const MIN_WINDOW_MS = 5_000;
/** A rate over more is one of long ago. */
const MAX_WINDOW_MS = 60_000;
/** More than come within MIN_WINDOW_MS, where the most impatient asks every second. */
const MAX_SAMPLES = 8;

/** The newest samples of each pod, and earlier ones for rates. Pods that nothing was heard of for a minute are forgotten. */
export class GatewaySamples {
  /** Newest first; the last of several is the one that the rate begins at. */
  readonly #known = new Map<string, readonly [Sample, ...Sample[]]>();

  #sweptAt = Number.NEGATIVE_INFINITY;

  /** Takes a sample of a pod, by the pod's uid. */
  put(uid: string, sample: Sample): void {
    const known = this.#known.get(uid) ?? [];
    if (known[0] && known[0].at >= sample.at) return;
    const beginning = known.findIndex(({ at }) => sample.at - at >= MIN_WINDOW_MS);
    const kept = known.slice(0, beginning === -1 ? MAX_SAMPLES : beginning + 1);
    this.#known.set(uid, [sample, ...kept]);
    this.#sweep(sample.at);
  }

  /** The value of a metric; undefined where there is none that counts at `now`. */
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
  // A total that has fallen is another process's: its first rate comes with its second sample.
  if (before === undefined || to === undefined || from === undefined || to < from) return undefined;
  const took = last.at - before.at;
  if (took < MIN_WINDOW_MS || took > MAX_WINDOW_MS) return undefined;
  return { value: (to - from) / (took / 1_000), at: last.at, windowSeconds: Math.round(took / 1_000) };
}
