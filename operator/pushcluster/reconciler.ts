import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type Validity, validityOf } from '@pushcluster/runtime/certificateMetrics.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { API_VERSION, KIND, type PushCluster, type Status } from '../api/pushCluster.ts';
import type { Applier } from '../kube/applier.ts';
import type { Client } from '../kube/client.ts';
import type { Result } from '../kube/controller.ts';
import { NotLeading } from '../kube/elector.ts';
import { ignoring, isKubeError } from '../kube/errors.ts';
import type { EventInput, EventRecorder } from '../kube/eventRecorder.ts';
import { KINDS, type KubeObject, keyOf, titleOf } from '../kube/objects.ts';
import type { ClusterCache } from './clusterCache.ts';
import type { DesiredObject, Images, PodDefaults } from './desired/context.ts';
import { desired } from './desired/desired.ts';
import { settleTime } from './desired/drainSettle.ts';
import { remainingEndpoints } from './desired/leavingEndpoints.ts';
import { logicReplicas } from './desired/logicReplicas.ts';
import { names } from './desired/names.ts';
import { storesElsewhere } from './desired/nats.ts';
import { rotationAgainIn, rotationIn, rotationMessage } from './desired/natsPasswords.ts';
import { mayRollOut } from './desired/podTemplateHash.ts';
import { gatewayDrain, InvalidSettings } from './desired/validSettings.ts';
import { type DisplayedNumbers, displayedNumbers, replacedIn } from './displayedNumbers.ts';
import { leavingGateways, leavingTime } from './leavingGateways.ts';
import { reloadLiveSettings } from './liveSettingsReload.ts';
import { MountFailures } from './mountFailures.ts';
import { NatsRollouts } from './natsRollouts.ts';
import { planTls, serversTlsOf, type TlsPlan, tlsAgainIn, tlsMessage } from './natsTls.ts';
import { observation, podStatusSummary } from './observation.ts';
import { clusterOf, podPatch } from './observedGateways.ts';
import { failedStatus, isUnread, type UnreadCluster, unreadStatus } from './readPushCluster.ts';
import { ReconcileErrors } from './reconcileErrors.ts';
import { RejectedPods } from './rejectedPods.ts';
import type { RolloutSlots } from './rolloutSlots.ts';
import { eventOf } from './scaleEvents.ts';
import { type LiveReadings, type Planned, ScalePlanner, unchanged } from './scalePlanner.ts';
import type { ObservedGateways, ScalePlan } from './scalePolicy.ts';
import { isBad, type Observed, type Problem, statusOf, transitions } from './status.ts';
import { StatusFields } from './statusFields.ts';
import { currentGateways, wantedGateways } from './wantedGateways.ts';

/**
 * An error that the API server reported is retried after this time: no watch tells when a quota is raised or a name is
 * free.
 */
const RETRY_MS = 15_000;
/** Errors that a retry may resolve are reported in the status only once they have lasted this long, milliseconds. */
const TRANSIENT_MS = 5_000;
const TRANSIENT_AGAIN_MS = 1_000;
/** A cluster with draining gateways is reconciled as often as these are polled. */
const DRAINING_AGAIN_MS = 2_000;
/** A cluster that waits for its rollout is woken when it may start, and otherwise tries again after this time. */
const WAITING_AGAIN_MS = 300_000;
/** Kinds of objects that pods need while they run. */
const USED_BY_PODS: ReadonlySet<string> = new Set([
  'ConfigMap',
  'Secret',
  'ServiceAccount',
  'Service',
  'NetworkPolicy',
  'StatefulSet',
]);
const PAUSED = 'spec.paused is true: the operator changes nothing of this PushCluster';

export type ReconcilerOptions = {
  cache: ClusterCache;
  /** Writes only while this process leads. So do the clients of the applier and the recorder. */
  client: Client;
  applier: Applier;
  recorder: EventRecorder;
  /** The latest status of each pod. */
  readings: LiveReadings;
  /** Images of the operator's own version. */
  images: Images;
  podDefaults: PodDefaults;
  /** URL of the runbook for alerts of PushClusters that do not set one. */
  runbook?: string | undefined;
  /** Limits how many clusters roll out at a time. */
  slots: RolloutSlots;
  /** Called once with each field of the status that the installed CRD does not have. It is left out. */
  onMissingFields?: (fields: readonly string[]) => void;
  clock?: Clock;
};

const Workload = z.object({ spec: z.object({ replicas: z.number().int().exactOptional() }) });

/**
 * The desired objects of a cluster, the scale plan that they were built from, and the milliseconds after which the
 * endpoints of leaving gateways, or what NATS has, change.
 */
type Wanted = Planned & {
  objects: readonly DesiredObject[];
  leavingAgainIn: number | undefined;
  natsAgainIn: number | undefined;
  natsChange: string | undefined;
};

/**
 * Reconciles one PushCluster at a time: observe (cache, pod statuses) → plan the number of gateways → desired objects →
 * server-side apply → status. Objects of a deleted PushCluster are left to the garbage collector.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #planner: ScalePlanner;
  readonly #rejectedPods: RejectedPods;
  readonly #mountFailures: MountFailures;
  readonly #natsRollouts: NatsRollouts;
  readonly #statusFields: StatusFields;
  readonly #toldMissing = new Set<string>();
  /** The last status written for each cluster, and the version of the cluster that it was computed from. */
  readonly #written = new Map<string, { over: string | undefined; status: Status }>();
  readonly #shown = new Map<string, DisplayedNumbers>();
  /** Pods that do not run their current settings yet, by cluster. */
  readonly #behind = new Map<string, ReadonlySet<string>>();
  /** Of the certificates in the Secrets of managed NATS, by cluster. */
  readonly natsCertificates = new Map<string, Validity>();
  /** Clusters that have only transient errors, and since when, by the clock's `now`. */
  readonly #transientSince = new Map<string, number>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#planner = new ScalePlanner(options.cache, options.readings, this.#clock);
    this.#rejectedPods = new RejectedPods(options.cache, options.client, this.#clock);
    this.#mountFailures = new MountFailures(options.cache, options.client, this.#clock);
    this.#natsRollouts = new NatsRollouts(this.#clock);
    this.#statusFields = new StatusFields(this.#clock);
  }

  /**
   * Rejects with a KubeError that no status can tell, NotLeading, or what a bug has thrown, which the status tells.
   * @param key `namespace/name` of a PushCluster, which may be deleted
   */
  readonly reconcile = async (key: string): Promise<Result> => {
    try {
      return await this.#reconcile(key);
    } catch (error) {
      if (!isKubeError(error) && !(error instanceof NotLeading)) await this.#reportFailure(key, error);
      throw error;
    }
  };

  async #reconcile(key: string): Promise<Result> {
    const { cache, readings, slots } = this.#options;
    const found = cache.cluster(key);
    if (!found || found.metadata.deletionTimestamp) {
      slots.forget(key);
      for (const known of [this.#written, this.#shown, this.#behind, this.#transientSince]) known.delete(key);
      this.#planner.forget(key);
      this.#natsRollouts.forget(key);
      this.#rejectedPods.forget(key);
      this.#mountFailures.forget(key);
      this.natsCertificates.delete(key);
      return {};
    }
    if (isUnread(found)) {
      slots.forget(key);
      return this.#reportUnread(key, found);
    }
    const tls = planTls(found, cache.tlsSeen(found));
    const { cluster } = tls;
    const began = this.#clock.now();
    const errors = new ReconcileErrors();
    const wanted = cluster.spec.paused ? undefined : await this.#desired(cluster, tls, errors);
    // Nothing renews it meanwhile.
    if (cluster.spec.paused) await this.#natsCertificate(tls);
    if (wanted) await this.#setGateways(cluster, wanted, errors);
    let held: Observed['held'] = cluster.spec.paused ? { reason: 'Paused', message: PAUSED } : undefined;
    const leftAgainIn = wanted
      ? wanted.leavingAgainIn
      : await this.#withdrawEndpoints(cluster, leavingTime(settleTime(cluster)), errors);
    if (wanted) {
      const outcome = await this.#apply(cluster, wanted, errors);
      if (outcome === 'outdated') return { againIn: 0 };
      if (outcome === 'waits') held = { reason: 'RolloutWaits', message: `waiting to replace pods: ${slots.sentence}` };
      // An obsolete object is deleted only once its replacement was accepted.
      if (errors.isEmpty) await this.#prune(cluster, wanted.objects, errors, outcome === 'waits');
      await this.#scale(cluster, wanted, errors);
      const settings = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: names(cluster).settings } };
      if (errors.reasonOf(settings) === undefined)
        await reloadLiveSettings(cluster, cache, (pod, metadata) => this.#patch(pod, metadata, errors));
    }
    const nats = this.#natsRollouts.look(key, cache.natsRollout(cluster));
    const isRollingOut = cache.isRollingOut(cluster) || nats.isActive;
    slots.update(key, { isRollingOut, waits: held?.reason === 'RolloutWaits' });
    if (this.#isTransient(key, errors, began)) return { againIn: TRANSIENT_AGAIN_MS };
    // The writes above are already in the cache.
    const gateways = cache.gateways(cluster, readings);
    const planned = wanted ? wanted.planned : unchanged(gateways);
    const { replicas } = wanted?.wanted ?? wantedGateways(cluster, currentGateways(gateways));
    const podsAgainIn = await this.#rejectedPods.report(cluster, errors);
    const mountsAgainIn = await this.#mountFailures.look(cluster, errors);
    const statusAgainIn = await this.#updateStatus(
      cluster,
      { gateways, planned, wanted: replicas },
      errors.problems,
      held,
      wanted?.natsChange,
    );
    const isUnderWay = planned.phase === 'draining' || planned.waits !== undefined;
    const refusedAgainIn = errors.isEmpty ? undefined : RETRY_MS;
    const heldAgainIn = held?.reason === 'RolloutWaits' ? WAITING_AGAIN_MS : undefined;
    const due = [
      planned.againIn,
      leftAgainIn,
      heldAgainIn,
      podsAgainIn,
      mountsAgainIn,
      nats.againIn,
      wanted?.natsAgainIn,
      refusedAgainIn,
      isUnderWay ? DRAINING_AGAIN_MS : statusAgainIn,
    ];
    const times = due.filter((each) => each !== undefined);
    return times.length === 0 ? {} : { againIn: Math.min(...times) };
  }

  /** Whether the cluster of this pod waits for its next status: the pod does not run its current settings yet. */
  awaits(pod: KubeObject): boolean {
    return this.#behind.get(clusterOf(pod) ?? '')?.has(pod.metadata.uid ?? '') ?? false;
  }

  #isTransient(key: string, errors: ReconcileErrors, now: number): boolean {
    if (!errors.areTransient) {
      this.#transientSince.delete(key);
      return false;
    }
    const since = this.#transientSince.get(key) ?? now;
    this.#transientSince.set(key, since);
    return this.#clock.now() - since < TRANSIENT_MS;
  }

  /** Data of the Secret with the certificate of the NATS servers, if there is one. Its validity is exported. */
  async #natsCertificate({ cluster, servers }: TlsPlan): Promise<Record<string, string> | undefined> {
    const data = servers && (await this.#options.cache.natsCertificate(cluster, servers.secretName));
    const validity = data && validityOf(Buffer.from(data['tls.crt'] ?? '', 'base64'));
    if (validity) this.natsCertificates.set(keyOf(cluster), validity);
    else this.natsCertificates.delete(keyOf(cluster));
    return data;
  }

  /** Undefined if the settings are invalid. */
  async #desired(cluster: PushCluster, tls: TlsPlan, errors: ReconcileErrors): Promise<Wanted | undefined> {
    const { cache, images, podDefaults, runbook } = this.#options;
    try {
      const { gateways, planned, wanted } = await this.#planner.plan(cluster);
      const time = leavingTime(gatewayDrain(cluster).settle);
      const now = this.#clock.wall();
      const leaving = leavingGateways(cache.pods(cluster, 'gateway'), planned.changes, time, now);
      const secrets = await cache.secrets(cluster);
      const { natsServer, natsTls } = names(cluster);
      const { servers: seen } = cache.tlsSeen(cluster);
      const rotation = rotationIn(secrets.get(natsServer));
      const due = [rotationAgainIn(rotation, now), tlsAgainIn(tls)];
      const times = due.filter((each) => each !== undefined);
      const natsAgainIn = times.length === 0 ? undefined : Math.min(...times);
      const objects = desired(cluster, {
        images,
        podDefaults,
        ...(runbook === undefined ? {} : { runbook }),
        gatewayReplicas: planned.replicas,
        releasesOld: planned.releasesOld ?? false,
        holdsOld: planned.holdsOld ?? false,
        leaving: leaving.gateways,
        logicReplicas: logicReplicas(cluster, cache.workload(cluster, 'logic')),
        serviceMonitors: cache.hasServiceMonitors(cluster.metadata.namespace),
        secrets,
        nats: cache.natsSeen(cluster, now),
        natsTls: serversTlsOf(tls, { seen, own: secrets.get(natsTls), given: await this.#natsCertificate(tls), now }),
        random: randomBytes,
      });
      const natsChange = this.#storageMessage(objects) ?? rotationMessage(rotation) ?? tlsMessage(tls);
      return { objects, gateways, planned, wanted, leavingAgainIn: leaving.againIn, natsAgainIn, natsChange };
    } catch (error) {
      if (!(error instanceof InvalidSettings)) throw error;
      errors.add(titleOf(cluster), 'invalid', error.message);
      return undefined;
    }
  }

  /**
   * Server-side applies the desired objects. Requests take time: if the scale plan is outdated when the gateway
   * Deployment's turn comes, nothing more is applied, so that no gateway is removed that is needed by now.
   */
  async #apply(
    cluster: PushCluster,
    wanted: Wanted,
    errors: ReconcileErrors,
  ): Promise<'outdated' | 'waits' | undefined> {
    const { applier, cache } = this.#options;
    const { gateway } = names(cluster);
    let outcome: 'waits' | undefined;
    for (const object of wanted.objects) {
      const isOfGateways = object.kind === 'Deployment' && object.metadata.name === gateway;
      if (isOfGateways && this.#planner.isOutdated(cluster, wanted)) return 'outdated';
      const observed = cache.made(object);
      if (observed && !this.#maySetPods(cluster, object, observed)) {
        outcome = 'waits';
        await this.#setReplicas(object, observed, errors);
        continue;
      }
      if (observed && storesElsewhere(object, observed)) {
        await this.#removeServers(observed, errors);
        continue;
      }
      const applied = await errors.collect(object, () => applier.apply(object, observed));
      if (applied?.changed) cache.wrote(applied.object);
      // A pod template that Kubernetes rejects keeps no pods from being added or removed.
      if (observed && errors.reasonOf(object) === 'invalid') await this.#setReplicas(object, observed, errors);
    }
    return outcome;
  }

  /** Says that servers are being replaced because of their storage, for the status. */
  #storageMessage(objects: readonly DesiredObject[]): string | undefined {
    const isUnderWay = objects.some((object) => {
      const observed = this.#options.cache.made(object);
      return observed !== undefined && storesElsewhere(object, observed);
    });
    return isUnderWay ? 'all NATS servers are being replaced, since they are to store elsewhere' : undefined;
  }

  /**
   * Deletes the StatefulSet of NATS after its servers. It is made anew once it is gone: a new one would not get pods of the
   * same names before.
   */
  async #removeServers(observed: KubeObject, errors: ReconcileErrors): Promise<void> {
    const { applier, client } = this.#options;
    const { uid, deletionTimestamp } = observed.metadata;
    if (deletionTimestamp) return;
    const preconditions = uid === undefined ? {} : { uid };
    await errors.collect(observed, () => client.delete(observed, preconditions, 'Foreground'));
    applier.forget(observed);
  }

  /** Whether an object may be applied now: if that replaces pods, a limited number of clusters may at a time. */
  #maySetPods(cluster: PushCluster, object: DesiredObject, observed: KubeObject): boolean {
    if (!mayRollOut(object, observed)) return true;
    const { spec, status, metadata } = cluster;
    // An autoscaler changes the spec too.
    const isOwnChange = status?.observedGeneration !== metadata.generation && spec.gateway.autoscaling === undefined;
    return this.#options.slots.take(keyOf(cluster), isOwnChange);
  }

  /** Writes the number of gateways into the spec, where it is not what is set there. */
  async #setGateways(cluster: PushCluster, { wanted }: Wanted, errors: ReconcileErrors): Promise<void> {
    const { replicas, because } = wanted;
    if (replicas === cluster.spec.gateway.replicas) return;
    // A cluster that has changed meanwhile is reconciled again.
    const scale = () => this.#options.client.scale(cluster, replicas).then(() => true, ignoring('conflict'));
    const isSet = await errors.collect(cluster, scale);
    if (isSet && because) this.#record(cluster, { type: 'Normal', action: 'Scale', ...because });
  }

  /** Sets the number of pods only: their template waits. */
  async #setReplicas(object: DesiredObject, observed: KubeObject, errors: ReconcileErrors): Promise<void> {
    const { cache, client } = this.#options;
    const replicas = replicasOf(object);
    if (replicas === undefined || replicas === replicasOf(observed)) return;
    const patched = await errors.collect(object, () => client.patch(observed, { spec: { replicas } }));
    if (patched) cache.wrote(patched);
  }

  /**
   * Reports a cluster that this version does not understand. Nothing else of it is changed, but for endpoints of gateways
   * that have gone.
   */
  async #reportUnread(key: string, cluster: UnreadCluster): Promise<Result> {
    const errors = new ReconcileErrors();
    await this.#withdrawEndpoints(cluster, Number.POSITIVE_INFINITY, errors);
    const result = errors.isEmpty ? {} : { againIn: RETRY_MS };
    await this.#reportDegraded(key, cluster, (status) => unreadStatus({ ...cluster, status }, this.#timestamp()));
    return result;
  }

  /** Reports an error that nobody expected. It is not lost if that fails too: the caller logs it. */
  async #reportFailure(key: string, error: unknown): Promise<void> {
    const cluster = this.#options.cache.cluster(key);
    if (!cluster || cluster.metadata.deletionTimestamp) return;
    const { metadata } = cluster;
    const next = (status: Status) => failedStatus({ metadata, status }, error, this.#timestamp());
    await this.#reportDegraded(key, cluster, next).catch(() => {});
  }

  async #reportDegraded(
    key: string,
    cluster: Pick<PushCluster, 'metadata' | 'status'>,
    statusAfter: (before: Status) => Status,
  ): Promise<void> {
    const before = this.#statusBefore(key, cluster) ?? {};
    const status = statusAfter(before);
    if (isDeepStrictEqual(before, status)) return;
    await this.#writeStatus(key, cluster, status);
    for (const { type, reason, message } of transitions(before, status))
      if (type === 'Degraded') this.#record(cluster, { type: 'Warning', reason, action: 'Reconcile', note: message });
  }

  /**
   * Deletes objects that are no longer desired. NATS is deleted only once no pod uses it, even if `nats.url` replaces
   * it.
   */
  async #prune(
    cluster: PushCluster,
    objects: readonly DesiredObject[],
    errors: ReconcileErrors,
    waits: boolean,
  ): Promise<void> {
    const { cache, client, applier } = this.#options;
    const wanted = new Set(objects.map((object) => `${object.kind} ${keyOf(object)}`));
    const isReplacing = cache.isReplacing(cluster);
    for (const object of cache.belongings(cluster)) {
      const { uid, deletionTimestamp } = object.metadata;
      if (deletionTimestamp || wanted.has(`${object.kind} ${keyOf(object)}`)) continue;
      // Pods that wait for their replacement may still use it.
      if (waits && USED_BY_PODS.has(object.kind)) continue;
      if (isReplacing && object.metadata.name.startsWith(names(cluster).nats)) continue;
      // The uid makes sure that a new object of the same name is not deleted.
      const gone = () => client.delete(object, uid === undefined ? {} : { uid }).catch(ignoring('conflict'));
      await errors.collect(object, gone);
      applier.forget(object);
    }
  }

  /**
   * Withdraws endpoints of gateways that have left, although nothing else is changed: they would get connections that
   * nobody accepts. Returns the milliseconds after which others are to be withdrawn.
   * @param time how long a gateway that has left is used, milliseconds
   */
  async #withdrawEndpoints(
    cluster: Pick<PushCluster, 'metadata'>,
    time: number,
    errors: ReconcileErrors,
  ): Promise<number | undefined> {
    const { cache, client } = this.#options;
    const slices = [...cache.belongings(cluster)].filter(({ kind }) => kind === KINDS.endpointSlices.kind);
    if (slices.length === 0) return undefined;
    const leaving = leavingGateways(cache.pods(cluster, 'gateway'), new Map(), time, this.#clock.wall());
    for (const slice of slices) {
      const endpoints = remainingEndpoints(slice, leaving.gateways);
      if (slice.metadata.deletionTimestamp || endpoints === undefined) continue;
      const { uid } = slice.metadata;
      if (endpoints.length > 0) {
        const patched = await errors.collect(slice, () =>
          client.patch(slice, { endpoints }).catch(ignoring('notFound')),
        );
        if (patched) cache.wrote(patched);
      } else {
        const gone = () => client.delete(slice, uid === undefined ? {} : { uid }).catch(ignoring('conflict'));
        await errors.collect(slice, gone);
      }
    }
    return leaving.againIn;
  }

  /** Patches gateway pods: removes them from the Service and drains them, or returns them to service. */
  async #scale(cluster: PushCluster, { gateways, planned, wanted }: Planned, errors: ReconcileErrors): Promise<void> {
    const { cache } = this.#options;
    const changed = [...cache.pods(cluster, 'gateway')].flatMap((pod) => {
      const before = gateways.pods.find(({ uid }) => uid === pod.metadata.uid);
      const state = before && planned.changes.get(before.uid);
      return before && state ? [{ pod, before, state }] : [];
    });
    // Pods join the Service before others leave it, so that it is never without endpoints.
    changed.sort((a, b) => Number(b.state.isServing) - Number(a.state.isServing));
    for (const { pod, before, state } of changed)
      await this.#patch(pod, podPatch(before, state, this.#clock.wall()), errors);
    if (errors.isUnresponsive) return;
    const refused = new Set(errors.problems.map(({ object }) => object));
    for (const step of planned.steps) {
      const isOfPods = step.type === 'drain' || step.type === 'undo';
      const about = isOfPods ? step.pods.map(({ name }) => `Pod ${name}`) : [`Deployment ${names(cluster).gateway}`];
      if (!about.some((object) => refused.has(object)))
        this.#record(cluster, eventOf(step, wanted.replicas, this.#clock.wall()));
    }
  }

  async #patch(pod: KubeObject, metadata: object, errors: ReconcileErrors): Promise<void> {
    const { cache, client } = this.#options;
    // The pod may be deleted by now.
    const patched = await errors.collect(pod, () => client.patch(pod, { metadata }).catch(ignoring('notFound')));
    if (patched) cache.wrote(patched);
  }

  /** Returns the milliseconds after which the status has to be updated again if no change triggers it before. */
  async #updateStatus(
    cluster: PushCluster,
    { gateways, planned, wanted }: { gateways: ObservedGateways; planned: ScalePlan; wanted: number },
    problems: readonly Problem[],
    held: Observed['held'],
    natsChange: string | undefined,
  ): Promise<number | undefined> {
    const { cache, images, readings } = this.#options;
    const key = keyOf(cluster);
    const summary = podStatusSummary(cache, cluster, gateways, readings, {
      unmounted: this.#mountFailures.reasons(cluster),
      now: this.#clock.wall(),
    });
    const shown = displayedNumbers(this.#shown.get(key), summary, this.#clock.now());
    this.#shown.set(key, shown);
    const againIn = replacedIn(shown, summary, this.#clock.now());
    this.#behind.set(key, new Set(summary.behind.map(({ uid }) => uid)));
    const before = this.#statusBefore(key, cluster);
    const observed = observation(cache, cluster, images, {
      gateways,
      planned,
      wanted,
      summary,
      shown,
      problems,
      held,
      natsChange,
    });
    const status = this.#statusFields.known(statusOf(observed, before, this.#timestamp()));
    if (isDeepStrictEqual(before, status)) return againIn;
    await this.#writeStatus(key, cluster, status);
    for (const condition of transitions(before, status)) {
      // Ready summarizes the other conditions, and each drain has an event of its own.
      if (condition.type === 'Ready' || condition.reason === 'Draining') continue;
      this.#record(cluster, {
        type: isBad(condition) ? 'Warning' : 'Normal',
        reason: condition.reason,
        action: 'Reconcile',
        note: condition.message,
      });
    }
    return againIn;
  }

  /** The cached cluster may be older than the last write. The written status counts until the cluster changes. */
  #statusBefore(key: string, { metadata, status }: Pick<PushCluster, 'metadata' | 'status'>): Status | undefined {
    const written = this.#written.get(key);
    return written && written.over === metadata.resourceVersion ? written.status : status;
  }

  async #writeStatus(key: string, { metadata }: Pick<PushCluster, 'metadata'>, status: Status): Promise<void> {
    const { name, namespace, resourceVersion } = metadata;
    const about = { apiVersion: API_VERSION, kind: KIND, metadata: { name, namespace } };
    try {
      await this.#options.client.applyStatus({ ...about, status });
    } catch (error) {
      const missing = this.#statusFields.learn(error);
      if (missing.length === 0) throw error;
      const untold = missing.filter((field) => !this.#toldMissing.has(field));
      for (const field of untold) this.#toldMissing.add(field);
      if (untold.length > 0) this.#options.onMissingFields?.(untold);
      return this.#writeStatus(key, { metadata }, this.#statusFields.known(status));
    }
    this.#written.set(key, { over: resourceVersion, status });
  }

  /** RFC 3339 with seconds. */
  #timestamp(): string {
    return new Date(this.#clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z');
  }

  #record({ metadata }: Pick<PushCluster, 'metadata'>, event: EventInput): void {
    const { name, namespace, uid, resourceVersion } = metadata;
    const about = { name, namespace, uid, ...(resourceVersion ? { resourceVersion } : {}) };
    this.#options.recorder.record({ apiVersion: API_VERSION, kind: KIND, metadata: about }, event);
  }
}

/** `spec.replicas` of a Deployment or StatefulSet. */
function replicasOf(object: object): number | undefined {
  return Workload.safeParse(object).data?.spec.replicas;
}
