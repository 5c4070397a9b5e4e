import { isDeepStrictEqual } from 'node:util';
import { valueAt } from '@pushcluster/runtime/valueAt.ts';
import type { DesiredObject } from '../pushcluster/desired/context.ts';
import { NATS_STORAGE_ANNOTATION } from '../pushcluster/desired/names.ts';

/** An effect of a change of a PushCluster on running objects. */
export type Effect =
  | 'live'
  | 'metadata'
  | 'refused'
  | 'hold'
  | 'drain'
  | 'gateways'
  | 'logic'
  | 'logicScale'
  | 'nats'
  | 'natsScale'
  | 'natsAnew'
  | 'natsVolumes'
  | 'natsMove'
  | 'service'
  | 'account'
  | 'rolloutPace'
  | 'budget'
  | 'autoscaler'
  | 'monitor'
  | 'alerts'
  | 'dashboards';

/** The desired objects of a cluster. */
type Objects = readonly DesiredObject[];

/**
 * The effects of applying `after` over `before`. A change of a settings file counts as live only if it does not roll
 * out the pods of its role: new pods start with the new file anyway.
 */
export function effects(before: Objects, after: Objects): Effect[] {
  const found: Effect[] = [];
  const changed = (kind: string, component: string | undefined, ...path: string[]) =>
    !isDeepStrictEqual(parts(before, kind, component, path), parts(after, kind, component, path));
  // All objects have it, and nothing else of them changes.
  if (changed('ConfigMap', undefined, 'metadata')) return ['metadata'];
  const rolled = {
    gateway: changed('Deployment', 'gateway', 'spec', 'template'),
    logic: changed('Deployment', 'logic', 'spec', 'template'),
  };
  const live = (['gateway', 'logic'] as const).some(
    (role) => !rolled[role] && changed('ConfigMap', undefined, 'data', `${role}.yaml`),
  );
  if (live) found.push('live');
  if (changed('Deployment', 'gateway', 'spec', 'replicas')) found.push('drain');
  if (rolled.gateway) found.push('gateways');
  if (changed('Deployment', 'gateway', 'spec', 'strategy')) found.push('rolloutPace');
  if (rolled.logic) found.push('logic');
  if (changed('Deployment', 'logic', 'spec', 'replicas')) found.push('logicScale');
  if (changed('StatefulSet', 'nats', 'kind')) found.push('natsMove');
  else if (changed('StatefulSet', 'nats', 'metadata', 'annotations', NATS_STORAGE_ANNOTATION)) found.push('natsAnew');
  else {
    if (changed('StatefulSet', 'nats', 'spec', 'persistentVolumeClaimRetentionPolicy')) found.push('natsVolumes');
    if (changed('StatefulSet', 'nats', 'spec', 'volumeClaimTemplates')) found.push('refused');
    if (changed('StatefulSet', 'nats', 'spec', 'replicas')) found.push('natsScale');
    if (changed('StatefulSet', 'nats', 'spec', 'template')) found.push('nats');
  }
  if (changed('Service', 'gateway') || changed('Service', 'logic')) found.push('service');
  // Those of NATS come and go with its servers.
  const roles = found.includes('natsMove') ? ['gateway', 'logic'] : ['gateway', 'logic', 'nats'];
  if (roles.some((role) => changed('ServiceAccount', role))) found.push('account');
  if (roles.some((role) => changed('PodDisruptionBudget', role, 'spec'))) found.push('budget');
  if (
    changed('HorizontalPodAutoscaler', 'gateway') ||
    changed('HorizontalPodAutoscaler', 'logic') ||
    changed('ScaledObject', 'gateway')
  )
    found.push('autoscaler');
  if (changed('ServiceMonitor', 'metrics')) found.push('monitor');
  if (changed('PrometheusRule', 'alerts')) found.push('alerts');
  if (changed('ConfigMap', 'dashboards')) found.push('dashboards');
  return found;
}

/** The values at `path` in all objects of a kind and component. */
function parts(objects: Objects, kind: string, component: string | undefined, path: readonly string[]): unknown[] {
  return objects
    .filter((object) => object.kind === kind)
    .filter(({ metadata }) => metadata.labels['app.kubernetes.io/component'] === component)
    .map((object) => valueAt(object, path));
}
