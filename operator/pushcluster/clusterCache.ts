import { pause, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { KIND, type PushCluster } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { withDigest } from '../kube/digest.ts';
import { ManagedFields } from '../kube/fieldOwners.ts';
import { KINDS, type Kind, type KubeObject, keyOf, kindOf, type Ref } from '../kube/objects.ts';
import type { Reflector } from '../kube/reflector.ts';
import { managedNats, natsServers, natsTlsSecret } from './desired/bus.ts';
import type { Images, NatsSeen } from './desired/context.ts';
import { logicReplicas } from './desired/logicReplicas.ts';
import { NATS_TLS_ANNOTATION, names, selectorLabels } from './desired/names.ts';
import { NATS_CONFIG_ANNOTATION } from './desired/nats.ts';
import { secrets } from './desired/secrets.ts';
import { pushScheme } from './desired/services.ts';
import type { RolloutProgress } from './natsRollouts.ts';
import { serversSeen, type TlsSeen } from './natsTls.ts';
import { isFinished, newestHash, observedGateways, type Readings } from './observedGateways.ts';
import { readPushCluster, type UnreadCluster } from './readPushCluster.ts';
import type { ObservedGateways } from './scalePolicy.ts';
import type { Observed, Pods } from './status.ts';
import { OPTIONAL_KINDS, WatchedNamespace, type WatchedNamespaceOptions } from './watchedNamespace.ts';

const count = z.number().int().min(0);
const Workload = z.object({
  metadata: z.object({
    generation: count.default(0),
    managedFields: ManagedFields.exactOptional(),
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

export type ClusterCacheOptions = Pick<
  WatchedNamespaceOptions,
  'client' | 'served' | 'onKey' | 'onGone' | 'onTrouble'
> & {
  /** Namespaces to watch; all if empty. */
  namespaces: readonly string[];
  /** Interval of checking which optional kinds the API server serves, milliseconds; default: one minute. */
  lookEvery?: number;
};

const LOOK_MS = 60_000;
/** Digits of an image's digest that tell versions apart. */
const DIGEST_DIGITS = 12;

/** Maximum number of written objects that the watches have not returned yet. */
const MAX_WRITTEN = 2_000;

/** A local copy of all PushClusters, of the objects made for them, and of their pods. */
export class ClusterCache {
  readonly #client: Client;
  /** By namespace, since RBAC may allow only some; or one for all namespaces. */
  readonly #namespaces: ReadonlyMap<string | undefined, WatchedNamespace>;
  /** Objects that were written and that the watches may not have returned yet, by uid. */
  readonly #written = new Map<string, KubeObject>();
  readonly #lookEvery: number;
  readonly #ending = new AbortController();
  readonly #usable = Promise.withResolvers<void>();
  #served: readonly Kind[];
  #looking: Promise<void> | undefined;

  constructor({ namespaces, lookEvery = LOOK_MS, ...options }: ClusterCacheOptions) {
    this.#client = options.client;
    this.#served = options.served;
    this.#lookEvery = lookEvery;
    const onSynced = () => {
      if (this.isUsable) this.#usable.resolve();
    };
    const watched = namespaces.length === 0 ? [undefined] : namespaces;
    this.#namespaces = new Map(
      watched.map((namespace) => [namespace, new WatchedNamespace({ ...options, namespace, onSynced })]),
    );
  }

  /** All watches at the moment. They change with the kinds that are served, and with the namespaces that have PushClusters. */
  get reflectors(): Reflector[] {
    return this.#all.flatMap(({ reflectors }) => reflectors);
  }

  /** Whether PushClusters of some namespace can be reconciled. */
  get isUsable(): boolean {
    return this.#all.some((each) => each.isSynced && !each.isBarred);
  }

  /** Whether everything is known that a reconcile of this PushCluster depends on. */
  isSynced(key: string): boolean {
    return this.#of(namespaceOf(key))?.isSynced ?? false;
  }

  /** Resolves when PushClusters of some namespace can be reconciled for the first time. */
  whenUsable(): Promise<void> {
    return this.#usable.promise;
  }

  /** Whether ServiceMonitors can be used in a namespace. */
  hasServiceMonitors(namespace: string): boolean {
    return this.#of(namespace)?.made(KINDS.serviceMonitors.kind) !== undefined;
  }

  start(): void {
    for (const each of this.#all) each.start();
    this.#looking ??= this.#look();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#all.map((each) => each.stop()));
    await this.#looking;
  }

  get #all(): WatchedNamespace[] {
    return [...this.#namespaces.values()];
  }

  #of(namespace: string): WatchedNamespace | undefined {
    return this.#namespaces.get(undefined) ?? this.#namespaces.get(namespace);
  }

  /** Checks periodically whether an optional kind was installed or removed. */
  async #look(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      await pause(systemClock, this.#lookEvery, signal);
      for (const kinds of Map.groupBy(OPTIONAL_KINDS, ({ apiVersion }) => apiVersion).values()) {
        if (signal.aborted) return;
        // If the API server does not respond, nothing changes until the next check.
        const served = await this.#client.served(kinds).catch(() => undefined);
        if (!served || signal.aborted) continue;
        this.#served = [...this.#served.filter((each) => !kinds.includes(each)), ...served];
        for (const each of this.#all) each.serve(this.#served);
      }
    }
  }

  /** Undefined if it does not exist. */
  cluster(key: string): PushCluster | UnreadCluster | undefined {
    const found = this.#of(namespaceOf(key))?.clusters.get(key);
    return found && readPushCluster(found);
  }

  /** All PushClusters, unparsed since parsing many at a time is slow. */
  *clusters(): Generator<KubeObject> {
    for (const { clusters } of this.#all) yield* clusters.objects();
  }

  /** An object made for a PushCluster. For some kinds, a digest replaces the content. */
  made(ref: Ref): KubeObject | undefined {
    const found = this.#of(ref.metadata.namespace ?? '')
      ?.made(ref.kind)
      ?.get(keyOf(ref));
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
  *belongings(cluster: Pick<PushCluster, 'metadata'>): Generator<KubeObject> {
    for (const reflector of this.#of(cluster.metadata.namespace)?.allMade() ?? [])
      for (const object of reflector.objects(cluster.metadata.namespace)) if (belongs(object, cluster)) yield object;
  }

  /** Pods of a cluster, including those that are terminating. */
  *pods(cluster: Pick<PushCluster, 'metadata'>, role: 'gateway' | 'logic' | 'nats'): Generator<KubeObject> {
    const wanted = Object.entries(selectorLabels(cluster, role));
    for (const pod of this.#podsIn(cluster.metadata.namespace))
      if (wanted.every(([name, value]) => pod.metadata.labels?.[name] === value)) yield this.#newest(pod);
  }

  /** The gateways of a cluster, as the scale plan needs them. */
  gateways(cluster: PushCluster, readings: Readings): ObservedGateways {
    const { namespace } = cluster.metadata;
    const deployment = this.#deployment(cluster, 'gateway');
    return observedGateways(deployment, this.#replicaSetsIn(namespace), this.pods(cluster, 'gateway'), readings);
  }

  #deployment(cluster: PushCluster, role: 'gateway' | 'logic'): KubeObject | undefined {
    const { namespace } = cluster.metadata;
    const found = this.made({ ...KINDS.deployments, metadata: { name: names(cluster)[role], namespace } });
    return found && belongs(found, cluster) ? found : undefined;
  }

  /** Gateway and logic pods of all clusters, including those that are terminating. */
  *everyPod(): Generator<KubeObject> {
    for (const { pods } of this.#all) for (const pod of pods?.objects() ?? []) if (!isNats(pod)) yield pod;
  }

  /** Gateway and logic pods of all clusters in a namespace, including those that are terminating. */
  *podsIn(namespace: string): Generator<KubeObject> {
    for (const pod of this.#podsIn(namespace)) if (!isNats(pod)) yield pod;
  }

  #podsIn(namespace: string): Iterable<KubeObject> {
    return this.#of(namespace)?.pods?.objects(namespace) ?? [];
  }

  #replicaSetsIn(namespace: string): Iterable<KubeObject> {
    return this.#of(namespace)?.replicaSets?.objects(namespace) ?? [];
  }

  /**
   * Data of the Secrets of a cluster, by name. A Secret that is not cached yet is requested: its content must be kept.
   */
  async secrets(cluster: PushCluster): Promise<Map<string, Record<string, string>>> {
    const found = new Map<string, Record<string, string>>();
    const { namespace } = cluster.metadata;
    const { natsTls } = names(cluster);
    const isNeeded = natsTlsSecret(cluster) === natsTls;
    const ofTls = { ...KINDS.secrets, metadata: { name: natsTls, namespace } };
    const made = secrets(cluster, { apiKey: '', gateway: '', logic: '', routes: '' });
    for (const ref of [...made, ofTls]) {
      const cached = this.made(ref);
      const secret = cached || (ref === ofTls && !isNeeded) ? cached : await this.#client.get(ref);
      if (secret && belongs(secret, cluster)) found.set(secret.metadata.name, Secret.parse(secret).data);
    }
    return found;
  }

  /** Data of a Secret of somebody else, which is not cached; undefined if it does not exist. */
  async #data({ metadata: { namespace } }: PushCluster, name: string): Promise<Record<string, string> | undefined> {
    const found = await this.#client.get({ ...KINDS.secrets, metadata: { name, namespace } });
    return found && Secret.parse(found).data;
  }

  /** Data of the Secret with the certificate of managed servers; undefined if it does not exist. */
  async natsCertificate(cluster: PushCluster, secretName: string): Promise<Record<string, string> | undefined> {
    if (secretName !== names(cluster).natsTls) return this.#data(cluster, secretName);
    return (await this.secrets(cluster)).get(secretName);
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

  /** Whether gateways or logic pods are being replaced by those of another template. */
  isRollingOut(cluster: PushCluster): boolean {
    return (['gateway', 'logic'] as const).some((role) => {
      const workload = this.workload(cluster, role);
      return workload !== undefined && isRollingOut(workload);
    });
  }

  /** The rollout of a cluster's NATS servers; undefined if there is none. */
  natsRollout(cluster: PushCluster): RolloutProgress | undefined {
    const workload = this.workload(cluster, 'nats');
    if (!workload || !isRollingOut(workload)) return undefined;
    const { updatedReplicas, readyReplicas } = workload.status;
    return { generation: workload.metadata.generation, updated: updatedReplicas, ready: readyReplicas };
  }

  /** The managed servers of a cluster; undefined if there are none. @param now milliseconds since 1970 */
  natsSeen(cluster: PushCluster, now: number): NatsSeen | undefined {
    const { namespace } = cluster.metadata;
    const found = this.made({ ...KINDS.statefulSets, metadata: { name: names(cluster).nats, namespace } });
    if (!found || !belongs(found, cluster)) return undefined;
    return {
      config: found.metadata.annotations?.[NATS_CONFIG_ANNOTATION],
      isSettled: this.#isNatsSettled(cluster),
      now,
    };
  }

  #isNatsSettled(cluster: PushCluster): boolean {
    const workload = this.workload(cluster, 'nats');
    if (!workload || isRollingOut(workload)) return false;
    const { replicas = 1 } = workload.spec;
    const { updatedReplicas, readyReplicas } = workload.status;
    return updatedReplicas === replicas && readyReplicas === replicas;
  }

  /** How the managed servers of a cluster and their clients are set up. */
  tlsSeen(cluster: PushCluster): TlsSeen {
    const { namespace } = cluster.metadata;
    const set = this.made({ ...KINDS.statefulSets, metadata: { name: names(cluster).nats, namespace } });
    const roles = ['gateway', 'logic'] as const;
    const deployments = roles.map((role) => this.#deployment(cluster, role)).filter((each) => each !== undefined);
    const pods = roles.flatMap((role) => [...this.pods(cluster, role)]).filter((pod) => !isFinished(pod));
    const trusted = (objects: readonly KubeObject[]) =>
      new Set(objects.map(({ metadata }) => metadata.annotations?.[NATS_TLS_ANNOTATION]));
    return {
      servers:
        set && belongs(set, cluster)
          ? serversSeen(set.metadata.annotations?.[NATS_TLS_ANNOTATION], this.#isNatsSettled(cluster))
          : undefined,
      deployed: trusted(deployments),
      running: trusted(pods),
      isReplacing: this.isReplacing(cluster),
    };
  }

  /** Keys of the PushClusters whose pods are being replaced. */
  *rollingOut(): Generator<string> {
    for (const { kind } of [KINDS.deployments, KINDS.statefulSets])
      for (const each of this.#all)
        for (const object of each.made(kind)?.objects() ?? []) {
          const found = Workload.safeParse(object);
          const owner = object.metadata.ownerReferences?.find((each) => each.kind === KIND);
          if (owner && found.success && isRollingOut(found.data)) yield `${object.metadata.namespace}/${owner.name}`;
        }
  }

  /** Whether the Deployment controller has observed the current template. */
  #isSeen(cluster: PushCluster, role: 'gateway' | 'logic'): boolean {
    const deployment = this.#deployment(cluster, role);
    const sets = this.#replicaSetsIn(cluster.metadata.namespace);
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
    const servers = managedNats(cluster)?.replicas ?? 0;
    const nats = servers === 0 ? undefined : this.workload(cluster, 'nats');
    const isNatsSeen = nats !== undefined && nats.status.observedGeneration >= nats.metadata.generation;
    return {
      generation: metadata.generation,
      version: versionOf(spec.image.gateway ?? images.gateway),
      logic: podsOf(logicReplicas(cluster, logic) ?? logic?.spec.replicas ?? 1, logic, this.#isSeen(cluster, 'logic')),
      nats: { url: natsServers(cluster).join(','), ...podsOf(servers, nats, isNatsSeen) },
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
    const inside = `${scheme}://${gateway}.${metadata.namespace}.svc:${port}/connect`;
    return {
      client: external[0] ?? inside,
      gateway: inside,
      ...(external.length > 0 ? { external } : {}),
      logic: `${pushScheme(cluster)}://${logic}.${metadata.namespace}.svc:${spec.logic.service.port}`,
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

/** The namespace in `namespace/name`. */
function namespaceOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}

/** NATS pods do not serve GET /status. */
function isNats({ metadata: { labels } }: KubeObject): boolean {
  return labels?.['app.kubernetes.io/component'] === 'nats';
}

function belongs(object: KubeObject, { metadata: { uid } }: Pick<PushCluster, 'metadata'>): boolean {
  return (object.metadata.ownerReferences ?? []).some((owner) => owner.uid === uid);
}

/**
 * Numbers of pods of a Deployment or StatefulSet. It does not report how many of the updated pods are ready: at least
 * those of the ready pods that cannot be older ones.
 * @param isSeen whether its controller has observed the current template
 */
function podsOf(wanted: number, workload: Workload | undefined, isSeen: boolean): Pods {
  if (!workload) return { wanted, ready: 0, current: 0 };
  const { replicas, updatedReplicas, readyReplicas } = workload.status;
  const current = Math.max(0, Math.min(updatedReplicas, readyReplicas - (replicas - updatedReplicas)));
  return { wanted, ready: readyReplicas, current: isSeen ? current : 0 };
}

/** Tag of an image, otherwise the beginning of its digest; `latest` if it has neither. */
function versionOf(image: string): string {
  const [name = '', digest] = image.split('@');
  return /:([^:/]+)$/.exec(name)?.[1] ?? digest?.slice(0, 'sha256:'.length + DIGEST_DIGITS) ?? 'latest';
}
