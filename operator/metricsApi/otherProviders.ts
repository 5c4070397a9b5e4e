import { pause, systemClock } from '@pushcluster/runtime/clock.ts';
import type { Client } from '../kube/client.ts';
import { API_SERVICE, METRICS_API_VERSION, METRICS_GROUP } from './api.ts';

/** Interval of looking for other providers, milliseconds. */
const LOOK_MS = 60_000;

/**
 * Finds out whether another adapter serves the group of the metrics API in another version. An autoscaler asks one
 * version only, so that either those of PushClusters or those of the other adapter miss their metrics.
 */
export class OtherProviders {
  readonly #client: Client;
  readonly #onFound: (message: string) => void;
  readonly #ending = new AbortController();
  #looking: Promise<void> | undefined;
  #versions: readonly string[] = [];

  /** @param onFound called with a sentence when the set of other versions changes and is not empty */
  constructor(client: Client, onFound: (message: string) => void) {
    this.#client = client;
    this.#onFound = onFound;
  }

  /** Number of other versions that are registered. */
  get count(): number {
    return this.#versions.length;
  }

  start(): void {
    this.#looking ??= this.#look();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      // If the API server does not respond, what was found last counts.
      const found = await this.#client.versionsOf(METRICS_GROUP).catch(() => undefined);
      if (found) this.#take(found.filter((version) => version !== METRICS_API_VERSION).sort());
      await pause(systemClock, LOOK_MS, signal);
    }
  }

  #take(others: readonly string[]): void {
    const isKnown = others.join() === this.#versions.join();
    this.#versions = others;
    if (isKnown || others.length === 0) return;
    const names = others.map((version) => version.split('/').reverse().join('.'));
    this.#onFound(
      `another adapter serves ${METRICS_GROUP} (APIService ${names.join(', ')}) beside ${API_SERVICE}: autoscalers ask only one of them. Turn one off: metricsApi.enabled in the chart, or the other adapter`,
    );
  }
}
