import type { V1PodDisruptionBudget } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role, selectorLabels } from './names.ts';

/**
 * One pod of a role at a time may be evicted. Said as what may be away, not as what must stay: so a single pod, too,
 * can be moved off its node.
 */
export function disruptionBudgets(cluster: PushCluster): (V1PodDisruptionBudget & DesiredObject)[] {
  const roles: Role[] = managedNats(cluster) ? ['gateway', 'logic', 'nats'] : ['gateway', 'logic'];
  return roles.map((role) => ({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(cluster, names(cluster)[role], role),
    spec: {
      maxUnavailable: 1,
      // A pod that never became ready serves nobody: it must not keep a node from being emptied.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: selectorLabels(cluster, role) },
    },
  }));
}
