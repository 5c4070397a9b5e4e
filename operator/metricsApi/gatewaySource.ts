import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { MetricName } from './api.ts';
import { GatewaySamples } from './gatewaySamples.ts';
import type { PodLabels, Source } from './metricsServer.ts';

/** Metrics of gateway pods, computed from the statuses that they report. */
export class GatewaySource implements Source {
  readonly #samples = new GatewaySamples();
  readonly #pods: (namespace: string) => Iterable<KubeObject>;
  readonly #clock: Clock;

  /** @param pods returns the current gateway and logic pods of a namespace */
  constructor(pods: (namespace: string) => Iterable<KubeObject>, clock: Clock = systemClock) {
    this.#pods = pods;
    this.#clock = clock;
  }

  /** Adds a status that a pod just reported. */
  heard({ metadata: { uid } }: KubeObject, { status }: { status: PodStatus }): void {
    if (uid === undefined || status.role !== 'gateway') return;
    this.#samples.put(uid, {
      at: this.#clock.now(),
      connections: status.connections,
      bytesSentTotal: status.bytesSentTotal,
    });
  }

  *pods(namespace: string): Generator<PodLabels> {
    for (const { metadata } of this.#pods(namespace)) {
      const { uid, name, labels = {}, deletionTimestamp } = metadata;
      if (uid === undefined || deletionTimestamp !== undefined) continue;
      if (labels['app.kubernetes.io/component'] === 'gateway') yield { uid, name, namespace, labels };
    }
  }

  /** `at` in milliseconds since 1970. */
  value(uid: string, metric: MetricName): ReturnType<GatewaySamples['value']> {
    const now = this.#clock.now();
    const value = this.#samples.value(uid, metric, now);
    return value && { ...value, at: this.#clock.wall() - (now - value.at) };
  }
}
