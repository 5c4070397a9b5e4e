import type { V1ServiceAccount } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role } from './names.ts';

/** One ServiceAccount for each role, without a token: the pods do not use the API server. */
export function serviceAccounts(cluster: PushCluster): (V1ServiceAccount & DesiredObject)[] {
  const { gateway, logic } = cluster.spec;
  const nats = managedNats(cluster);
  const roles: [role: Role, account: { annotations: Record<string, string> }][] = [
    ['gateway', gateway.serviceAccount],
    ['logic', logic.serviceAccount],
    ...(nats ? [['nats', nats.serviceAccount] satisfies [Role, object]] : []),
  ];
  return roles.map(([role, { annotations }]) => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadataOf(cluster, names(cluster)[role], role, { annotations }),
    automountServiceAccountToken: false,
  }));
}
