import type { PushCluster } from '../../api/pushCluster.ts';
import { FIELD_MANAGER } from '../../kube/client.ts';
import { type FieldOwner, ownersOf } from '../../kube/fieldOwners.ts';

/** Number of gateways, and of logic pods, of a new PushCluster that does not set it. */
export const DEFAULT_REPLICAS = 2;

/** The fields of a Deployment that tell who owns its number of pods. */
type Observed = { metadata?: { managedFields?: FieldOwner[] }; spec?: { replicas?: number } };

/**
 * `spec.replicas` to apply to the logic Deployment; undefined to leave the field out because another manager, the
 * autoscaler, owns it. It must not be left out earlier: a field that is no longer applied returns to its default, 1.
 * Without a number in the PushCluster, it stays as it is.
 * @param observed the logic Deployment
 */
export function logicReplicas({ spec: { logic } }: PushCluster, observed: Observed | undefined): number | undefined {
  const current = observed?.spec?.replicas;
  if (logic.autoscaling === undefined) return logic.replicas ?? current ?? DEFAULT_REPLICAS;
  const owners = ownersOf(observed?.metadata?.managedFields ?? [], ['spec', 'replicas']);
  if (owners.some(({ manager }) => manager !== FIELD_MANAGER)) return undefined;
  return current ?? logic.autoscaling.minReplicas;
}
