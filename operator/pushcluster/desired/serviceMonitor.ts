import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { CLUSTER_LABEL, NATS_EXPORTER, names } from './names.ts';

/** A ServiceMonitor of the Prometheus Operator: the fields that are used here. */
export type ServiceMonitor = DesiredObject & {
  spec: {
    selector: {
      matchLabels: Record<string, string>;
      matchExpressions: { key: string; operator: 'In'; values: string[] }[];
    };
    targetLabels: string[];
    podTargetLabels: string[];
    endpoints: { port: string; path: string }[];
  };
};

const COMPONENT = 'app.kubernetes.io/component';

/** Makes Prometheus scrape all gateway and logic pods, and the exporters of managed NATS, with the cluster and the role as labels. */
export function serviceMonitor(cluster: PushCluster): ServiceMonitor {
  const hasExporter = managedNats(cluster)?.exporter?.enabled ?? false;
  return {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'ServiceMonitor',
    metadata: metadataOf(cluster, names(cluster).metrics, 'metrics'),
    spec: {
      selector: {
        matchLabels: { [CLUSTER_LABEL]: cluster.metadata.name },
        matchExpressions: [{ key: COMPONENT, operator: 'In', values: ['metrics', ...(hasExporter ? ['nats'] : [])] }],
      },
      targetLabels: [CLUSTER_LABEL],
      podTargetLabels: [COMPONENT],
      endpoints: ['admin', ...(hasExporter ? [NATS_EXPORTER] : [])].map((port) => ({ port, path: '/metrics' })),
    },
  };
}
