import { pause, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { KIND, type PushCluster } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { itself, ownersOfKind } from '../kube/controller.ts';
import { withDigest } from '../kube/digest.ts';
import type { KubeError } from '../kube/errors.ts';
import { NamespacedReflectors } from '../kube/namespacedReflectors.ts';
import { KINDS, type Kind, type KubeObject, keyOf, kindOf, type Ref } from '../kube/objects.ts';
import type { Change, Reflector } from '../kube/reflector.ts';
import { managedNats, natsServers } from './desired/bus.ts';
import type { Images } from './desired/context.ts';
import { MADE_KINDS } from './desired/desired.ts';
import { SLICE_MANAGER, SLICE_MANAGER_LABEL } from './desired/leavingEndpoints.ts';
import { CLUSTER_LABEL, names, selectorLabels } from './desired/names.ts';
import { secrets } from './desired/secrets.ts';
import { notReadyReasonOf } from './notReadyReason.ts';
import { clusterOf, looksOf, newestHash, observedGateways, type Readings } from './observedGateways.ts';
import { readPushCluster, type UnreadCluster } from './readPushCluster.ts';
import type { ObservedGateways } from './scalePolicy.ts';
import type { Observed, Pods } from './status.ts';

const count = z.number().int().min(0);
const Workload = z.object({
  metadata: z.object({
    generation: count.default(0),
    managedFields: z
      .array(
        z.object({ manager: z.string().exactOptional(), fieldsV1: z.record(z.string(), z.unknown()).exactOptional() }),
      )
      .exactOptional(),
  }),
  spec: z.object({ replicas: count.exactOptional() }),
  status: z
    .object({
      observedGeneration: count.default(0),
      replicas: count.default(0),
      updatedReplicas: count.default(0),
      readyReplicas: count.default(0),
      terminatingReplicas: count.default(0),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), message: z.string().default('') }))
        .default([]),
    })
    .prefault({}),
});
export type Workload = z.infer<typeof Workload>;
const Service = z.object({
  status: z.object({
    loadBalancer: z.object({
      ingress: z.array(z.object({ ip: z.string().optional(), hostname: z.string().optional() })).default([]),
    }),
  }),
});
const Secret = z.object({ data: z.record(z.string(), z.string()).default({}) });

export type ClusterCacheOptions = {
  client: Client;
  /** Namespaces to watch; all if empty. */
  namespaces: readonly string[];
  /** The OPTIONAL_KINDS that the API server serves. */
  served: readonly Kind[];
  /** Interval of checking which ones it serves, milliseconds; default: one minute. */
  lookEvery?: number;
  /** Called with the key of a PushCluster that has to be reconciled. */
  onKey: (key: string) => void;
  /** Called when an object of a PushCluster was deleted. */
  onGone: (ref: Ref) => void;
  onTrouble?: (error: KubeError) => void;
};

/** Kinds that may be installed or removed while the operator runs: those of the Prometheus Operator and of KEDA. */
export const OPTIONAL_KINDS: readonly Kind[] = [KINDS.serviceMonitors, KINDS.prometheusRules, KINDS.scaledObjects];

const LOOK_MS = 60_000;

/** Maximum number of written objects that the watches have not returned yet. */
const MAX_WRITTEN = 2_000;

/** A local copy of all PushClusters, of the objects made for them, and of their pods. */
export class ClusterCache {
  /** One or more for each kind. The list changes with OPTIONAL_KINDS. */
  readonly reflectors: readonly Reflector[];
  readonly #reflectors: Reflector[];
  readonly #client: Client;
  readonly #clusters: NamespacedReflectors;
  readonly #pods: NamespacedReflectors;
  readonly #replicaSets: NamespacedReflectors;
  /** Objects that were written and that the watches may not have returned yet, by uid. */
  readonly #written = new Map<string, KubeObject>();
  readonly #made: Map<string, NamespacedReflectors>;
  readonly #reflectMade: (kind: Kind) => NamespacedReflectors;
  readonly #onKey: (key: string) => void;
  readonly #lookEvery: number;
  readonly #ending = new AbortController();
  #looking: Promise<void> | undefined;

  constructor({ client, namespaces, served, lookEvery = LOOK_MS, onKey, onGone, onTrouble }: ClusterCacheOptions) {
    const reflect = (kind: Kind, onChange: (change: Change) => void, more: { labelSelector?: string } = {}) =>
      new NamespacedReflectors(namespaces, {
        client,
        kind,
        // managedFields tell who owns the number of logic pods.
        managedFields: kind === KINDS.deployments,
        kept: withDigest,
        onChange,
        ...(onTrouble ? { onTrouble } : {}),
        ...more,
      });
    const owners = ownersOfKind(KIND);
    const made = (change: Change) => {
      if (change.type === 'deleted') onGone(change.object);
      for (const key of owners(change)) onKey(key);
    };
    const ofPod = ({ object }: Change) => {
      const key = clusterOf(object);
      if (key !== undefined) onKey(key);
    };
    // A new or deleted ReplicaSet is relevant as such.
    const looked = (change: Change) => {
      if (change.type !== 'changed' || looksOf(change.object) !== looksOf(change.before)) ofPod(change);
    };
    const hindered = (change: Change) => {
      const isOther =
        change.type === 'changed' && notReadyReasonOf(change.object)?.why !== notReadyReasonOf(change.before)?.why;
      if (isOther) ofPod(change);
      else looked(change);
    };
    const labelSelector = CLUSTER_LABEL;
    const roles = 'app.kubernetes.io/component in (gateway,logic)';
    const rolesAndNats = 'app.kubernetes.io/component in (gateway,logic,nats)';
    this.#client = client;
    this.#clusters = reflect(KINDS.pushClusters, (change) => itself(change).forEach(onKey));
    this.#pods = reflect(KINDS.pods, hindered, { labelSelector: `${labelSelector},${rolesAndNats}` });
    this.#replicaSets = reflect(KINDS.replicaSets, looked, { labelSelector: `${labelSelector},${roles}` });
    // The endpoint slice controller copies the labels of a Service to its own slices.
    const ours = `${labelSelector},${SLICE_MANAGER_LABEL}=${SLICE_MANAGER}`;
    this.#reflectMade = (kind) =>
      reflect(kind, made, { labelSelector: kind === KINDS.endpointSlices ? ours : labelSelector });
    this.#onKey = onKey;
    this.#lookEvery = lookEvery;
    const kinds = MADE_KINDS.map(kindOf).filter((kind) => !OPTIONAL_KINDS.includes(kind) || served.includes(kind));
    this.#made = new Map(kinds.map((kind) => [kind.kind, this.#reflectMade(kind)]));
    const all = [this.#clusters, this.#pods, this.#replicaSets, ...this.#made.values()];
    this.#reflectors = all.flatMap(({ reflectors }) => reflectors);
    this.reflectors = this.#reflectors;
  }

  /** Whether the API server serves ServiceMonitors. */
  get serviceMonitors(): boolean {
    return this.#made.has(KINDS.serviceMonitors.kind);
  }

  start(): void {
    for (const each of this.reflectors) each.start();
    this.#looking ??= this.#look();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.reflectors.map((each) => each.stop()));
    await this.#looking;
  }

  /** Checks periodically whether an optional kind was installed or removed. */
  async #look(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      await pause(systemClock, this.#lookEvery, signal);
      for (const kinds of Map.groupBy(OPTIONAL_KINDS, ({ apiVersion }) => apiVersion).values()) {
        if (signal.aborted) return;
        // If the API server does not respond, nothing changes until the next check.
        const served = await this.#client.served(kinds).catch(() => kinds.filter(({ kind }) => this.#made.has(kind)));
        for (const kind of kinds) await this.#settle(kind, served.includes(kind));
      }
    }
  }

  async #settle(kind: Kind, isServed: boolean): Promise<void> {
    if (isServed === this.#made.has(kind.kind)) return;
    if (isServed) await this.#admit(kind);
    else await this.#dismiss(kind);
    for (const { metadata } of this.clusters()) this.#onKey(`${metadata.namespace}/${metadata.name}`);
  }

  async #admit(kind: Kind): Promise<void> {
    const reflected = this.#reflectMade(kind);
    const { reflectors } = reflected;
    for (const each of reflectors) each.start();
    // Existing objects have to be known before the kind is used.
    const synced = Promise.all(reflectors.map((each) => each.whenSynced()));
    await Promise.race([synced, pause(systemClock, this.#lookEvery, this.#ending.signal)]);
    if (!reflectors.every(({ isSynced }) => isSynced)) {
      await Promise.all(reflectors.map((each) => each.stop()));
      return;
    }
    this.#made.set(kind.kind, reflected);
    this.#reflectors.push(...reflectors);
  }

  async #dismiss(kind: Kind): Promise<void> {
    const { reflectors = [] } = this.#made.get(kind.kind) ?? {};
    this.#made.delete(kind.kind);
    for (const each of reflectors) this.#reflectors.splice(this.#reflectors.indexOf(each), 1);
    await Promise.all(reflectors.map((each) => each.stop()));
  }

  /** Undefined if it does not exist. */
  cluster(key: string): PushCluster | UnreadCluster | undefined {
    const found = this.#clusters.get(key);
    return found && readPushCluster(found);
  }

  /** All PushClusters, unparsed since parsing many at a time is slow. */
  *clusters(): Generator<KubeObject> {
    for (const reflector of this.#clusters.reflectors) yield* reflector.objects();
  }

  /** An object made for a PushCluster. For some kinds, a digest replaces the content. */
  made(ref: Ref): KubeObject | undefined {
    const found = this.#made.get(ref.kind)?.get(keyOf(ref));
    return found && this.#newest(found);
  }

  /** Records a written object, which counts until the watch returns it: otherwise a decision might be made twice. */
  wrote(object: KubeObject): void {
    const { uid } = object.metadata;
    if (uid === undefined) return;
    this.#written.delete(uid);
    this.#written.set(uid, withDigest(object));
    for (const oldest of this.#written.keys()) {
      if (this.#written.size <= MAX_WRITTEN) return;
      this.#written.delete(oldest);
    }
  }

  #newest(seen: KubeObject): KubeObject {
    const { uid = '' } = seen.metadata;
    const written = this.#written.get(uid);
    if (written && versionIn(written) > versionIn(seen)) return written;
    this.#written.delete(uid);
    return seen;
  }

  /** All objects that a cluster owns. */
  *belongings(cluster: PushCluster): Generator<KubeObject> {
    for (const reflector of this.#made.values())
      for (const object of reflector.objects(cluster.metadata.namespace)) if (belongs(object, cluster)) yield object;
  }

  /** Pods of a cluster, including those that are terminating. */
  *pods(cluster: PushCluster, role: 'gateway' | 'logic' | 'nats'): Generator<KubeObject> {
    const wanted = Object.entries(selectorLabels(cluster, role));
    for (const pod of this.#pods.objects(cluster.metadata.namespace))
      if (wanted.every(([name, value]) => pod.metadata.labels?.[name] === value)) yield this.#newest(pod);
  }

  /** The gateways of a cluster, as the scale plan needs them. */
  gateways(cluster: PushCluster, readings: Readings): ObservedGateways {
    const { namespace } = cluster.metadata;
    const deployment = this.#deployment(cluster, 'gateway');
    return observedGateways(deployment, this.#replicaSets.objects(namespace), this.pods(cluster, 'gateway'), readings);
  }

  #deployment(cluster: PushCluster, role: 'gateway' | 'logic'): KubeObject | undefined {
    const { namespace } = cluster.metadata;
    const found = this.made({ ...KINDS.deployments, metadata: { name: names(cluster)[role], namespace } });
    return found && belongs(found, cluster) ? found : undefined;
  }

  /** Gateway and logic pods of all clusters, including those that are terminating. */
  *everyPod(): Generator<KubeObject> {
    for (const reflector of this.#pods.reflectors) for (const pod of reflector.objects()) if (!isNats(pod)) yield pod;
  }

  /** Gateway and logic pods of all clusters in a namespace, including those that are terminating. */
  *podsIn(namespace: string): Generator<KubeObject> {
    for (const pod of this.#pods.objects(namespace)) if (!isNats(pod)) yield pod;
  }

  /**
   * Data of the Secrets of a cluster, by name. A Secret that is not cached yet is requested: its content must be kept.
   */
  async secrets(cluster: PushCluster): Promise<Map<string, Record<string, string>>> {
    const found = new Map<string, Record<string, string>>();
    for (const ref of secrets(cluster, { apiKey: '', gateway: '', logic: '', routes: '' })) {
      const secret = this.made(ref) ?? (await this.#client.get(ref));
      if (secret && belongs(secret, cluster)) found.set(secret.metadata.name, Secret.parse(secret).data);
    }
    return found;
  }

  /** The Deployment or StatefulSet of a role. */
  workload(cluster: PushCluster, role: 'gateway' | 'logic' | 'nats'): Workload | undefined {
    const kind = kindOf({ apiVersion: 'apps/v1', kind: role === 'nats' ? 'StatefulSet' : 'Deployment' });
    const found = this.made({
      ...kind,
      metadata: { name: names(cluster)[role], namespace: cluster.metadata.namespace },
    });
    return found && belongs(found, cluster) ? Workload.parse(found) : undefined;
  }

  /** Whether no rollout of logic is in progress: all pods have the current template. */
  isLogicCurrent(cluster: PushCluster): boolean {
    const { replicas, updatedReplicas } = this.workload(cluster, 'logic')?.status ?? {};
    return this.#isSeen(cluster, 'logic') && updatedReplicas === replicas;
  }

  /** Whether pods of a cluster are being replaced by those of another template. */
  isRollingOut(cluster: PushCluster): boolean {
    return (['gateway', 'logic', 'nats'] as const).some((role) => {
      const workload = this.workload(cluster, role);
      return workload !== undefined && isRollingOut(workload);
    });
  }

  /** Keys of the PushClusters whose pods are being replaced. */
  *rollingOut(): Generator<string> {
    for (const { kind } of [KINDS.deployments, KINDS.statefulSets])
      for (const reflector of this.#made.get(kind)?.reflectors ?? [])
        for (const object of reflector.objects()) {
          const found = Workload.safeParse(object);
          const owner = object.metadata.ownerReferences?.find((each) => each.kind === KIND);
          if (owner && found.success && isRollingOut(found.data)) yield `${object.metadata.namespace}/${owner.name}`;
        }
  }

  /** Whether the Deployment controller has observed the current template. */
  #isSeen(cluster: PushCluster, role: 'gateway' | 'logic'): boolean {
    const deployment = this.#deployment(cluster, role);
    const sets = this.#replicaSets.objects(cluster.metadata.namespace);
    return deployment !== undefined && newestHash(deployment, sets) !== undefined;
  }

  /**
   * Whether pods of an older template are serving or terminating: they still use objects that are no longer desired.
   */
  isReplacing(cluster: PushCluster): boolean {
    return (['gateway', 'logic'] as const).some((role) => {
      const workload = this.workload(cluster, role);
      // The ReplicaSet may exist before the status of the Deployment counts its pods.
      if (workload && workload.status.observedGeneration < workload.metadata.generation) return true;
      const { ready, current } = podsOf(0, workload, this.#isSeen(cluster, role));
      return ready > current || (workload?.status.terminatingReplicas ?? 0) > 0;
    });
  }

  /** The parts of the status that do not depend on what pods report. */
  observed(cluster: PushCluster, images: Images): Omit<Observed, 'problems' | 'gateway' | 'scaling' | 'summary'> {
    const { spec, metadata } = cluster;
    const logic = this.workload(cluster, 'logic');
    const nats = managedNats(cluster)?.replicas ?? 0;
    return {
      generation: metadata.generation,
      version: versionOf(spec.image.gateway ?? images.gateway),
      logic: podsOf(
        spec.logic.autoscaling ? (logic?.spec.replicas ?? 1) : spec.logic.replicas,
        logic,
        this.#isSeen(cluster, 'logic'),
      ),
      nats: {
        url: natsServers(cluster).join(','),
        wanted: nats,
        ready: nats === 0 ? 0 : (this.workload(cluster, 'nats')?.status.readyReplicas ?? 0),
      },
      endpoints: this.#endpoints(cluster),
    };
  }

  #endpoints(cluster: PushCluster): Observed['endpoints'] {
    const { spec, metadata } = cluster;
    const { gateway, logic, apiKey } = names(cluster);
    const scheme = spec.gateway.service.tls ? 'wss' : 'ws';
    const { port } = spec.gateway.service;
    const service = Service.safeParse(
      this.made({ apiVersion: 'v1', kind: 'Service', metadata: { name: gateway, namespace: metadata.namespace } }),
    );
    const external = (service.data?.status.loadBalancer.ingress ?? [])
      .map(({ ip, hostname }) => hostname ?? (ip?.includes(':') ? `[${ip}]` : ip))
      .filter((host) => host !== undefined)
      .map((host) => `${scheme}://${host}:${port}/connect`);
    return {
      gateway: `${scheme}://${gateway}.${metadata.namespace}.svc:${port}/connect`,
      ...(external.length > 0 ? { external } : {}),
      logic: `http://${logic}.${metadata.namespace}.svc:${spec.logic.service.port}`,
      ...(spec.logic.apiKeys.length === 0 ? { apiKeySecret: apiKey } : {}),
    };
  }
}

/** Whether pods of an older template are left, and Kubernetes has not given up replacing them. */
function isRollingOut({ metadata, status }: Workload): boolean {
  if (status.conditions.some((each) => each.type === 'Progressing' && each.status === 'False')) return false;
  return status.observedGeneration < metadata.generation || status.replicas > status.updatedReplicas;
}

/** resourceVersions of the same kind are increasing integers. */
function versionIn({ metadata: { resourceVersion = '' } }: KubeObject): bigint {
  return /^\d+$/.test(resourceVersion) ? BigInt(resourceVersion) : 0n;
}

/** NATS pods do not serve GET /status. */
function isNats({ metadata: { labels } }: KubeObject): boolean {
  return labels?.['app.kubernetes.io/component'] === 'nats';
}

function belongs(object: KubeObject, { metadata: { uid } }: PushCluster): boolean {
  return (object.metadata.ownerReferences ?? []).some((owner) => owner.uid === uid);
}

/**
 * Numbers of pods of a Deployment. It does not report how many of the updated pods are ready: at least those of the
 * ready pods that cannot be older ones.
 * @param isSeen whether the Deployment controller has observed the current template
 */
function podsOf(wanted: number, workload: Workload | undefined, isSeen: boolean): Pods {
  if (!workload) return { wanted, ready: 0, current: 0 };
  const { replicas, updatedReplicas, readyReplicas } = workload.status;
  const current = Math.max(0, Math.min(updatedReplicas, readyReplicas - (replicas - updatedReplicas)));
  return { wanted, ready: readyReplicas, current: isSeen ? current : 0 };
}

/** Digest or tag of an image; `latest` if it has neither. */
function versionOf(image: string): string {
  const [name = '', digest] = image.split('@');
  return digest ?? /:([^:/]+)$/.exec(name)?.[1] ?? 'latest';
}
