import type { V1PodDisruptionBudget } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { DisruptionBudget } from '../../api/spec/disruptionBudget.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role, selectorLabels } from './names.ts';

/**
 * How many pods of a role may be evicted at a time. Draining gateways count as pods of their role until they are
 * removed.
 */
export function disruptionBudgets(cluster: PushCluster): (V1PodDisruptionBudget & DesiredObject)[] {
  const { gateway, logic } = cluster.spec;
  const roles: [Role, DisruptionBudget | undefined][] = [
    ['gateway', gateway.disruptionBudget],
    ['logic', logic.disruptionBudget],
    ['nats', managedNats(cluster)?.disruptionBudget],
  ];
  return roles.flatMap(([role, budget]) => (budget?.enabled ? [disruptionBudget(cluster, role, budget)] : []));
}

function disruptionBudget(cluster: PushCluster, role: Role, { maxUnavailable, minAvailable }: DisruptionBudget) {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(cluster, names(cluster)[role], role),
    spec: {
      // By default `maxUnavailable` rather than `minAvailable`, so that a single pod can be evicted too.
      ...(minAvailable === undefined ? { maxUnavailable: maxUnavailable ?? 1 } : { minAvailable }),
      // A pod that is not ready must not block the drain of its node.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: selectorLabels(cluster, role) },
    },
  };
}
