import type { PushCluster } from '../../api/pushCluster.ts';
import { FIELD_MANAGER } from '../../kube/client.ts';

/** The fields of a Deployment that tell who owns its number of pods. */
type Observed = {
  metadata?: { managedFields?: { manager?: string; fieldsV1?: object }[] };
  spec?: { replicas?: number };
};

/**
 * `spec.replicas` to apply to the logic Deployment; undefined to leave the field out because another manager, the
 * autoscaler, owns it. It must not be left out earlier: a field that is no longer applied returns to its default, 1.
 * @param observed the logic Deployment
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
