import type { PushCluster } from '../../api/pushCluster.ts';
import { FIELD_MANAGER } from '../../kube/client.ts';

/** A Deployment, as far as it tells whose the number of its pods is. */
type Observed = {
  metadata?: { managedFields?: { manager?: string; fieldsV1?: object }[] };
  spec?: { replicas?: number };
};

/**
 * Logic pods to apply; undefined: leave the field out, since another manager (the autoscaler) owns it by now. It must
 * not be left out before: a field that was applied and is dropped goes back to its default, one pod.
 * @param observed the logic Deployment as it is
 */
export function logicReplicas({ spec: { logic } }: PushCluster, observed: Observed | undefined): number | undefined {
  if (logic.autoscaling === undefined) return logic.replicas;
  if (observed === undefined) return logic.autoscaling.minReplicas;
  const others = (observed.metadata?.managedFields ?? []).filter(({ manager }) => manager !== FIELD_MANAGER);
  if (others.some(({ fieldsV1 }) => ownsReplicas(fieldsV1))) return undefined;
  return observed.spec?.replicas ?? logic.autoscaling.minReplicas;
}

function ownsReplicas(fields: unknown): boolean {
  return has(fields, 'f:spec') && has(fields['f:spec'], 'f:replicas');
}

function has<K extends string>(value: unknown, key: K): value is Record<K, unknown> {
  return typeof value === 'object' && value !== null && key in value;
}
