import type { PushCluster } from '../../api/pushCluster.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { CLUSTER_LABEL, names } from './names.ts';

/** A ServiceMonitor of the Prometheus Operator: the fields that are used here. */
export type ServiceMonitor = DesiredObject & {
  spec: {
    selector: { matchLabels: Record<string, string> };
    targetLabels: string[];
    podTargetLabels: string[];
    endpoints: { port: string; path: string }[];
  };
};

/** Makes Prometheus scrape all gateway and logic pods, with the cluster and the role as labels. */
export function serviceMonitor(cluster: PushCluster): ServiceMonitor {
  return {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'ServiceMonitor',
    metadata: metadataOf(cluster, names(cluster).metrics, 'metrics'),
    spec: {
      selector: { matchLabels: { [CLUSTER_LABEL]: cluster.metadata.name, 'app.kubernetes.io/component': 'metrics' } },
      targetLabels: [CLUSTER_LABEL],
      podTargetLabels: ['app.kubernetes.io/component'],
      endpoints: [{ port: 'admin', path: '/metrics' }],
    },
  };
}
