import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import type { PodStatusPoller } from '../podStatus/podStatusPoller.ts';
import { CLUSTER_LABEL, DRAIN_ANNOTATION, LEFT_ANNOTATION, SERVING_LABEL } from './desired/names.ts';
import type { GatewayPod } from './gatewayPod.ts';
import type { ObservedGateways, PodState } from './scalePolicy.ts';

/** A ReplicaSet deletes pods with a lower cost first. */
const DELETION_COST_ANNOTATION = 'controller.kubernetes.io/pod-deletion-cost';
const HASH_LABEL = 'pod-template-hash';
/** The container of the gateway: a pod template may add others. */
const GATEWAY = 'gateway';

/** Statuses of pods: a PodStatusPoller. */
export type Readings = Pick<PodStatusPoller, 'freshReading' | 'reading' | 'failure'>;

const Pod = z.object({
  status: z
    .object({
      phase: z.string().default('Pending'),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), lastTransitionTime: z.string().nullish() }))
        .default([]),
      containerStatuses: z
        .array(z.object({ name: z.string().default(GATEWAY), state: z.record(z.string(), z.unknown()).default({}) }))
        .default([]),
    })
    .prefault({}),
});
const Template = z.looseObject({ metadata: z.looseObject({ labels: z.record(z.string(), z.string()).default({}) }) });
const Workload = z.object({ spec: z.object({ replicas: z.number().int(), template: Template }) });
const count = z.number().int().default(0);
const ReplicaSet = z.object({
  spec: z.object({ template: Template }),
  status: z.object({ replicas: count, fullyLabeledReplicas: count, readyReplicas: count }).prefault({}),
});

/** The gateways of a cluster, observed from its Deployment, ReplicaSets and pods. */
export function observedGateways(
  deployment: KubeObject | undefined,
  replicaSets: Iterable<KubeObject>,
  pods: Iterable<KubeObject>,
  readings: Readings,
): ObservedGateways {
  const all = [...pods].filter((pod) => !isFinished(pod));
  const active = all.filter(isActive);
  const terminating = all.length - active.length;
  if (!deployment)
    return { pods: [], replicas: undefined, isSettled: false, isSeen: false, isAskedAnew: false, terminating };
  const newest = newestOf(deployment, replicaSets);
  const hash = newest?.metadata.labels?.[HASH_LABEL];
  return {
    pods: active.map((pod) => gatewayPod(pod, hash, readings)),
    replicas: Workload.parse(deployment).spec.replicas,
    isSettled: hash !== undefined,
    isSeen: newest !== undefined && isSeen(newest, active),
    isAskedAnew: false,
    terminating,
  };
}

/**
 * Whether the status of a ReplicaSet matches its pods: how many there are, how many are ready, and how many the Service
 * selects, which is known because the label that it selects by is in the template.
 */
function isSeen(replicaSet: KubeObject, pods: readonly KubeObject[]): boolean {
  const { status, spec } = ReplicaSet.parse(replicaSet);
  const labels = Object.entries(spec.template.metadata.labels);
  const whole = pods.filter(({ metadata }) => labels.every(([name, value]) => metadata.labels?.[name] === value));
  return (
    status.replicas === pods.length &&
    status.fullyLabeledReplicas === whole.length &&
    status.readyReplicas === pods.filter(isReady).length
  );
}

/** The pod-template-hash of the current pods; undefined until the Deployment controller has observed the template. */
export function newestHash(deployment: KubeObject, replicaSets: Iterable<KubeObject>): string | undefined {
  return newestOf(deployment, replicaSets)?.metadata.labels?.[HASH_LABEL];
}

function newestOf(deployment: KubeObject, replicaSets: Iterable<KubeObject>): KubeObject | undefined {
  const wanted = unhashed(Workload.parse(deployment).spec.template);
  // The Deployment controller finds it the same way. Revisions are written later.
  return [...replicaSets].find(
    (each) =>
      (each.metadata.ownerReferences ?? []).some(({ uid }) => uid === deployment.metadata.uid) &&
      isDeepStrictEqual(unhashed(Workload.parse(each).spec.template), wanted),
  );
}

/** A pod template without the label that a ReplicaSet adds. */
function unhashed({ metadata, ...rest }: z.infer<typeof Template>): object {
  const { [HASH_LABEL]: _, ...labels } = metadata.labels;
  return { ...rest, metadata: { ...metadata, labels } };
}

/** Neither finished nor terminating: the pods that a ReplicaSet counts. */
function isActive(pod: KubeObject): boolean {
  return !pod.metadata.deletionTimestamp && !isFinished(pod);
}

/** A pod that has exited for good, or was evicted and is left as a record. */
export function isFinished(pod: KubeObject): boolean {
  const { phase } = statusOf(pod);
  return phase === 'Succeeded' || phase === 'Failed';
}

function gatewayPod(pod: KubeObject, hash: string | undefined, readings: Readings): GatewayPod {
  const { uid = '', name, labels = {}, annotations = {} } = pod.metadata;
  const drain = annotations[DRAIN_ANNOTATION];
  const cost = annotations[DELETION_COST_ANNOTATION];
  const reading = readings.freshReading(uid);
  const connections = reading?.status.connections;
  return {
    uid,
    name,
    isCurrent: labels[HASH_LABEL] === hash,
    isReady: isReady(pod),
    readySince: readySince(pod),
    state: stateOf(pod),
    isServing: labels[SERVING_LABEL] === 'true',
    // An invalid time counts as a drain that never ends: the pod is not removed because of it.
    drainSince: drain ? Date.parse(drain) || Number.POSITIVE_INFINITY : undefined,
    deletionCost: cost === undefined ? undefined : Number(cost),
    counted: reading && connections !== undefined ? { connections, at: reading.at } : undefined,
    isFuller: reading?.status.fuller,
    unknownSince: unknownSince(pod, readings),
    isAsked: readings.reading(uid) !== undefined || readings.failure(uid) !== undefined,
    isSilent: readings.failure(uid) !== undefined,
  };
}

/**
 * Since when the connections are unknown. A pod that is no longer ready counts from its creation, so that none waits
 * for it.
 */
function unknownSince(pod: KubeObject, readings: Readings): number | undefined {
  const { uid = '', creationTimestamp } = pod.metadata;
  const since = readySince(pod);
  if (since === undefined) return Date.parse(creationTimestamp ?? '') || 0;
  if (readings.freshReading(uid)?.status.connections !== undefined) return undefined;
  const last = readings.reading(uid);
  return last?.status.connections === undefined ? since : last.at;
}

/** JSON merge patch of the metadata of a pod from one state to another. @param now milliseconds since 1970 */
export function podPatch(before: PodState, { isServing, drainSince, deletionCost }: PodState, now: number): object {
  const annotations: Record<string, string | null> = {};
  if (isServing !== before.isServing) annotations[LEFT_ANNOTATION] = isServing ? null : new Date(now).toISOString();
  if (drainSince !== before.drainSince)
    annotations[DRAIN_ANNOTATION] = drainSince === undefined ? null : new Date(drainSince).toISOString();
  if (deletionCost !== before.deletionCost)
    annotations[DELETION_COST_ANNOTATION] = deletionCost === undefined ? null : String(deletionCost);
  return { labels: { [SERVING_LABEL]: String(isServing) }, annotations };
}

/** A digest of the fields of a pod that a reconcile depends on. Changes of other fields are ignored. */
export function looksOf(pod: KubeObject): string {
  const { deletionTimestamp, labels, annotations } = pod.metadata;
  const told = [labels?.[SERVING_LABEL], annotations?.[DRAIN_ANNOTATION], annotations?.[DELETION_COST_ANNOTATION]];
  return JSON.stringify([deletionTimestamp, ...told, statusOf(pod).phase, isReady(pod), stateOf(pod)]);
}

/** `namespace/name` of the PushCluster that a pod belongs to. */
export function clusterOf({ metadata: { namespace, labels } }: KubeObject): string | undefined {
  const name = labels?.[CLUSTER_LABEL];
  return name === undefined ? undefined : `${namespace}/${name}`;
}

/** Whether a pod is draining or terminating. */
export function isLeaving({ metadata: { deletionTimestamp, annotations } }: KubeObject): boolean {
  return deletionTimestamp !== undefined || Boolean(annotations?.[DRAIN_ANNOTATION]);
}

export function isReady(pod: KubeObject): boolean {
  return readySince(pod) !== undefined;
}

/** Since when a pod is ready, milliseconds since 1970; undefined if it is not. */
export function readySince(pod: KubeObject): number | undefined {
  const found = statusOf(pod).conditions.find(({ type, status }) => type === 'Ready' && status === 'True');
  return found && (Date.parse(found.lastTransitionTime ?? '') || 0);
}

function stateOf(pod: KubeObject): GatewayPod['state'] {
  const { phase, containerStatuses } = statusOf(pod);
  if (phase === 'Pending') return 'pending';
  const own = containerStatuses.filter(({ name }) => name === GATEWAY);
  const isStopped = own.length > 0 && own.every(({ state }) => !('running' in state));
  return isStopped ? 'stopped' : 'running';
}

function statusOf(pod: KubeObject): z.infer<typeof Pod>['status'] {
  return Pod.parse(pod).status;
}
