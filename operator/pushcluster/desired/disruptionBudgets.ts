import type { V1PodDisruptionBudget } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role, selectorLabels } from './names.ts';

/**
 * At most one pod of a role may be evicted at a time. `maxUnavailable` rather than `minAvailable`, so that a single pod
 * can be evicted too.
 */
export function disruptionBudgets(cluster: PushCluster): (V1PodDisruptionBudget & DesiredObject)[] {
  const roles: Role[] = managedNats(cluster) ? ['gateway', 'logic', 'nats'] : ['gateway', 'logic'];
  return roles.map((role) => ({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(cluster, names(cluster)[role], role),
    spec: {
      maxUnavailable: 1,
      // A pod that is not ready must not block the drain of its node.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: selectorLabels(cluster, role) },
    },
  }));
}
