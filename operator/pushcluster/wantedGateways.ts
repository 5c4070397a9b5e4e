import type { PushCluster } from '../api/pushCluster.ts';
import { ownersOf } from '../kube/fieldOwners.ts';
import { DEFAULT_REPLICAS } from './desired/logicReplicas.ts';
import type { ObservedGateways } from './scalePolicy.ts';

/** Path of the number of gateways in a PushCluster. */
export const REPLICAS = ['spec', 'gateway', 'replicas'] as const;

export type WantedGateways = {
  /** Number of gateways, without those that drain. */
  replicas: number;
  /** Why it is not `spec.gateway.replicas`, if a person should know: an event. */
  because?: { reason: 'ReplicasKept' | 'ReplicasIgnored'; note: string };
};

/**
 * The number of gateways that a PushCluster asks for. It never falls because a field was left out: without `replicas`,
 * it stays as it is. With an autoscaler, it is what was last written by the scale subresource, from the autoscaler's
 * minimum to its maximum; a number that a manifest sets beside it is not followed, since applying the manifest again
 * would undo what the autoscaler did. 0 suspends the autoscaler, as in any HPA.
 * @param current gateways that do not drain; undefined if the PushCluster is new
 */
export function wantedGateways({ spec, metadata }: PushCluster, current: number | undefined): WantedGateways {
  const { replicas, autoscaling } = spec.gateway;
  const unset = { reason: 'ReplicasKept', note: `spec.gateway.replicas is not set: it stays ${current}` } as const;
  const because = replicas === undefined && current !== undefined ? { because: unset } : {};
  if (autoscaling === undefined) return { replicas: replicas ?? current ?? DEFAULT_REPLICAS, ...because };
  const bounded = (count: number) => Math.min(autoscaling.maxReplicas, Math.max(autoscaling.minReplicas, count));
  const owners = ownersOf(metadata.managedFields ?? [], REPLICAS);
  const isByManifest = owners.some(({ subresource = '' }) => subresource !== 'scale');
  if (isByManifest && current !== undefined && replicas !== undefined && replicas !== bounded(current)) {
    const kept = bounded(current);
    const note = `spec.gateway.replicas was set to ${replicas}, but spec.gateway.autoscaling sets it: it stays ${kept}. Remove it from the manifest`;
    return { replicas: kept, because: { reason: 'ReplicasIgnored', note } };
  }
  if (replicas === 0 && !isByManifest) return { replicas };
  return { replicas: bounded(replicas ?? current ?? autoscaling.minReplicas), ...because };
}

/** The gateways that do not drain; undefined if there is no Deployment yet. */
export function currentGateways({ replicas, pods }: ObservedGateways): number | undefined {
  if (replicas === undefined) return undefined;
  return Math.max(0, replicas - pods.filter(({ drainSince }) => drainSince !== undefined).length);
}
