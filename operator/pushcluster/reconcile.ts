import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { PushCluster, Status } from '../api/pushCluster.ts';
import type { Applier } from '../kube/applier.ts';
import type { Client } from '../kube/client.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import type { Result } from '../kube/controller.ts';
import { isKubeError, type KubeErrorReason } from '../kube/errors.ts';
import type { EventInput, EventRecorder } from '../kube/events.ts';
import { type KubeObject, keyOf, titleOf } from '../kube/objects.ts';
import { Attempt } from './attempt.ts';
import type { DesiredObject, Images } from './desired/context.ts';
import { desired } from './desired/desired.ts';
import { names, SETTINGS_ANNOTATION } from './desired/names.ts';
import { logicReplicas } from './desired/replicas.ts';
import { settingsHash, UnusableSettings } from './desired/settings.ts';
import { clusterOf, podPatch } from './fleet.ts';
import { observation, outdatedIn, reports, type Shown, shown } from './observation.ts';
import type { View } from './observe.ts';
import { type LiveReadings, type Planned, Planner } from './planner.ts';
import { RefusedPods } from './refusedPods.ts';
import type { Fleet, Plan } from './scale.ts';
import { eventOf } from './scaleEvents.ts';
import { type Condition, type Problem, statusOf, transitions } from './status.ts';

/** What was refused is tried again: a quota may have been raised, a name be free, and nobody tells. */
const REFUSED_AGAIN_MS = 15_000;
/** What may pass by itself is told of only when it has lasted so long, milliseconds. */
const PASSING_MS = 5_000;
const PASSING_AGAIN_MS = 1_000;
/** What drains is looked at as often as it is asked. */
const DRAINING_AGAIN_MS = 2_000;

export type ReconcilerOptions = {
  view: View;
  /** Guarded: it writes for the leader only. So are the applier's and the recorder's. */
  client: Client;
  applier: Applier;
  recorder: EventRecorder;
  /** What pods say of themselves. */
  readings: LiveReadings;
  /** Of the operator's own version. */
  images: Images;
  clock?: Clock;
};

/** All that is to be, and the plan that it was made by. */
type Wanted = Planned & { objects: readonly DesiredObject[] };

/** Makes what a PushCluster asks for, and says how that went. What a deleted one owned is the garbage collector's. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #planner: Planner;
  readonly #refusedPods: RefusedPods;
  /** Statuses that were written and may not have come back yet: one for each cluster. */
  readonly #written = new Map<string, { over: string | undefined; status: Status }>();
  readonly #shown = new Map<string, Shown>();
  /** Pods that have yet to take up their settings, by cluster. */
  readonly #behind = new Map<string, ReadonlySet<string>>();
  /** Since when nothing is refused but what may pass, by the clock's `now`: of clusters where that is so. */
  readonly #passing = new Map<string, number>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#planner = new Planner(options.view, options.readings, this.#clock);
    this.#refusedPods = new RefusedPods(options.view, options.client, this.#clock);
  }

  /** @param key `namespace/name` of a PushCluster; it may be gone */
  readonly reconcile = async (key: string): Promise<Result> => {
    const { view, readings } = this.#options;
    const cluster = view.cluster(key);
    if (!cluster || cluster.metadata.deletionTimestamp) {
      for (const known of [this.#written, this.#shown, this.#behind, this.#passing]) known.delete(key);
      this.#planner.forget(key);
      this.#refusedPods.forget(key);
      return {};
    }
    const began = this.#clock.now();
    const attempt = new Attempt();
    const wanted = await this.#desired(cluster, attempt);
    if (wanted) {
      if ((await this.#apply(cluster, wanted, attempt)) === 'outdated') return { againIn: 0 };
      // What replaces something may just have been refused.
      if (attempt.isWell) await this.#prune(cluster, wanted.objects, attempt);
      await this.#scale(cluster, wanted, attempt);
      if (attempt.isWell) await this.#bringSettings(cluster, attempt);
    }
    if (this.#isPassing(key, attempt, began)) return { againIn: PASSING_AGAIN_MS };
    // As it is after all this.
    const fleet = view.fleet(cluster, readings);
    const planned = wanted ? wanted.planned : asItIs(fleet);
    const podsAgainIn = await this.#refusedPods.tell(cluster, attempt);
    const toldAgainIn = await this.#tell(cluster, fleet, planned, attempt.problems);
    const isUnderWay = planned.phase === 'draining' || planned.waits !== undefined;
    const refusedAgainIn = attempt.isWell ? undefined : REFUSED_AGAIN_MS;
    const due = [planned.againIn, podsAgainIn, refusedAgainIn, isUnderWay ? DRAINING_AGAIN_MS : toldAgainIn];
    const times = due.filter((each) => each !== undefined);
    return times.length === 0 ? {} : { againIn: Math.min(...times) };
  };

  /** Whether something waits for what a pod will say next. */
  awaits(pod: KubeObject): boolean {
    return this.#behind.get(clusterOf(pod) ?? '')?.has(pod.metadata.uid ?? '') ?? false;
  }

  #isPassing(key: string, attempt: Attempt, now: number): boolean {
    if (!attempt.mayPass) {
      this.#passing.delete(key);
      return false;
    }
    const since = this.#passing.get(key) ?? now;
    this.#passing.set(key, since);
    return this.#clock.now() - since < PASSING_MS;
  }

  /** Undefined where the settings can't be used. */
  async #desired(cluster: PushCluster, attempt: Attempt): Promise<Wanted | undefined> {
    const { view, images } = this.#options;
    try {
      const { fleet, planned } = await this.#planner.plan(cluster);
      const objects = desired(cluster, {
        images,
        gatewayReplicas: planned.replicas,
        releasesOld: planned.releasesOld ?? false,
        logicReplicas: logicReplicas(cluster, view.workload(cluster, 'logic')),
        serviceMonitors: view.serviceMonitors,
        secrets: await view.secrets(cluster),
        random: randomBytes,
      });
      return { objects, fleet, planned };
    } catch (error) {
      if (!(error instanceof UnusableSettings)) throw error;
      attempt.refused(titleOf(cluster), 'invalid', error.message);
      return undefined;
    }
  }

  /** All this takes time: no gateway is given up that was to go when it began, and isn't now. */
  async #apply(cluster: PushCluster, wanted: Wanted, attempt: Attempt): Promise<'outdated' | undefined> {
    const { applier, view } = this.#options;
    const { gateway } = names(cluster);
    for (const object of wanted.objects) {
      const isOfGateways = object.kind === 'Deployment' && object.metadata.name === gateway;
      if (isOfGateways && this.#planner.isOutdated(cluster, wanted)) return 'outdated';
      const applied = await attempt.at(object, () => applier.apply(object, view.made(object)));
      if (applied?.changed) view.wrote(applied.object);
    }
    return undefined;
  }

  /** Deletes what was desired once and isn't any more: NATS only once nobody uses it, whatever comes in its place. */
  async #prune(cluster: PushCluster, objects: readonly DesiredObject[], attempt: Attempt): Promise<void> {
    const { view, client, applier } = this.#options;
    const wanted = new Set(objects.map((object) => `${object.kind} ${keyOf(object)}`));
    const isReplacing = view.isReplacing(cluster);
    for (const object of view.belongings(cluster)) {
      const { uid, deletionTimestamp } = object.metadata;
      if (deletionTimestamp || wanted.has(`${object.kind} ${keyOf(object)}`)) continue;
      if (isReplacing && object.metadata.name.startsWith(names(cluster).nats)) continue;
      // Another object may have its name by now.
      const gone = () => client.delete(object, uid === undefined ? {} : { uid }).catch(unless('conflict'));
      await attempt.at(object, gone);
      applier.forget(object);
    }
  }

  /** Takes gateways out of the Service and lets them drain, or puts them back. */
  async #scale(cluster: PushCluster, { fleet, planned }: Planned, attempt: Attempt): Promise<void> {
    const { view } = this.#options;
    const changed = [...view.pods(cluster, 'gateway')].flatMap((pod) => {
      const before = fleet.pods.find(({ uid }) => uid === pod.metadata.uid);
      const state = before && planned.changes.get(before.uid);
      return before && state ? [{ pod, before, state }] : [];
    });
    // Who comes into the Service does so before anybody leaves it.
    changed.sort((a, b) => Number(b.state.isServing) - Number(a.state.isServing));
    for (const { pod, before, state } of changed) await this.#patch(pod, podPatch(before, state), attempt);
    if (attempt.isSilent) return;
    const refused = new Set(attempt.problems.map(({ object }) => object));
    for (const step of planned.steps) {
      const isOfPods = step.type === 'drain' || step.type === 'undo';
      const about = isOfPods ? step.pods.map(({ name }) => `Pod ${name}`) : [`Deployment ${names(cluster).gateway}`];
      if (!about.some((object) => refused.has(object)))
        this.#record(cluster, eventOf(step, cluster.spec.gateway.replicas, this.#clock.wall()));
    }
  }

  /** A pod whose annotation changes gets the ConfigMap's new content at once, and not within a minute or so. */
  async #bringSettings(cluster: PushCluster, attempt: Attempt): Promise<void> {
    const { view } = this.#options;
    for (const role of ['gateway', 'logic'] as const) {
      const hash = settingsHash(cluster, role);
      for (const pod of view.pods(cluster, role)) {
        const { annotations, deletionTimestamp } = pod.metadata;
        if (deletionTimestamp || annotations?.[SETTINGS_ANNOTATION] === hash) continue;
        await this.#patch(pod, { annotations: { [SETTINGS_ANNOTATION]: hash } }, attempt);
      }
    }
  }

  async #patch(pod: KubeObject, metadata: object, attempt: Attempt): Promise<void> {
    const { view, client } = this.#options;
    // It may have ended meanwhile.
    const patched = await attempt.at(pod, () => client.patch(pod, { metadata }).catch(unless('notFound')));
    if (patched) view.wrote(patched);
  }

  /** Returns the milliseconds after which its numbers are to be told anew, where nobody else would see to it. */
  async #tell(
    cluster: PushCluster,
    fleet: Fleet,
    planned: Plan,
    problems: readonly Problem[],
  ): Promise<number | undefined> {
    const { view, client, images, readings } = this.#options;
    const { name, namespace, resourceVersion } = cluster.metadata;
    const key = `${namespace}/${name}`;
    const found = reports(view, cluster, fleet, readings, this.#clock.wall());
    const numbers = shown(this.#shown.get(key), found, this.#clock.now());
    this.#shown.set(key, numbers);
    const againIn = outdatedIn(numbers, found, this.#clock.now());
    this.#behind.set(key, new Set(found.behind.map(({ uid }) => uid)));
    const written = this.#written.get(key);
    // The copy of the cluster is late: what was written counts until it has moved on.
    const before = written && written.over === resourceVersion ? written.status : cluster.status;
    const now = new Date(this.#clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z');
    const observed = observation(view, cluster, images, { fleet, planned, reports: found, shown: numbers, problems });
    const status = statusOf(observed, before, now);
    if (isDeepStrictEqual(before, status)) return againIn;
    const { apiVersion, kind } = cluster;
    await client.applyStatus({ apiVersion, kind, metadata: { name, namespace }, status });
    this.#written.set(key, { over: resourceVersion, status });
    for (const condition of transitions(before, status)) {
      // Ready only sums up the others, and each drain is told of when it begins.
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

  #record({ apiVersion, kind, metadata }: PushCluster, event: EventInput): void {
    const { name, namespace, uid, resourceVersion } = metadata;
    const about = { name, namespace, uid, ...(resourceVersion ? { resourceVersion } : {}) };
    this.#options.recorder.record({ apiVersion, kind, metadata: about }, event);
  }
}

/** Where the settings can't be used, nothing is done about the number of gateways. */
function asItIs({ pods, replicas = 0 }: Fleet): Plan {
  const phase = pods.some(({ drainSince }) => drainSince !== undefined) ? 'draining' : 'steady';
  return { replicas, changes: new Map(), steps: [], waits: undefined, phase };
}

/** For what is as well when it is refused so. */
function unless(reason: KubeErrorReason): (error: unknown) => undefined {
  return (error) => {
    if (!isKubeError(error, reason)) throw error;
  };
}

function isBad({ type, status }: Condition): boolean {
  return (type === 'Degraded' && status === 'True') || (type === 'Available' && status === 'False');
}
