import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { MetricName } from './api.ts';
import { Samples } from './samples.ts';
import type { PodLabels, Source } from './server.ts';

/** Values of gateway pods, from what they say of themselves. */
export class GatewaySource implements Source {
  readonly #samples = new Samples();
  readonly #pods: (namespace: string) => Iterable<KubeObject>;

  /** @param pods gateway and logic pods of a namespace, as they are now */
  constructor(pods: (namespace: string) => Iterable<KubeObject>) {
    this.#pods = pods;
  }

  /** Takes what a pod has said. */
  heard({ metadata: { uid } }: KubeObject, { status, at }: { status: PodStatus; at: number }): void {
    if (uid === undefined || status.role !== 'gateway') return;
    this.#samples.put(uid, { at, connections: status.connections, bytesSentTotal: status.bytesSentTotal });
  }

  *pods(namespace: string): Generator<PodLabels> {
    for (const { metadata } of this.#pods(namespace)) {
      const { uid, name, labels = {}, deletionTimestamp } = metadata;
      if (uid === undefined || deletionTimestamp !== undefined) continue;
      if (labels['app.kubernetes.io/component'] === 'gateway') yield { uid, name, namespace, labels };
    }
  }

  value(uid: string, metric: MetricName): ReturnType<Samples['value']> {
    return this.#samples.value(uid, metric, Date.now());
  }
}
