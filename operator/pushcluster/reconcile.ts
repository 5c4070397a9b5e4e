import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { PushCluster, Status } from '../api/pushCluster.ts';
import type { Applier } from '../kube/applier.ts';
import type { Client } from '../kube/client.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import type { Result } from '../kube/controller.ts';
import { isKubeError } from '../kube/errors.ts';
import type { EventRecorder } from '../kube/events.ts';
import { keyOf, titleOf } from '../kube/objects.ts';
import type { DesiredObject, Images } from './desired/context.ts';
import { desired } from './desired/desired.ts';
import { SETTINGS_ANNOTATION } from './desired/names.ts';
import { logicReplicas } from './desired/replicas.ts';
import { settingsHash, UnusableSettings } from './desired/settings.ts';
import type { View } from './observe.ts';
import { type Condition, type Problem, statusOf, transitions } from './status.ts';

/** What was refused is tried again: a quota may have been raised, a name be free, and nobody tells. */
const REFUSED_AGAIN_MS = 15_000;

export type ReconcilerOptions = {
  view: View;
  /** Guarded: it writes for the leader only. So are the applier's and the recorder's. */
  client: Client;
  applier: Applier;
  recorder: EventRecorder;
  /** Of the operator's own version. */
  images: Images;
  clock?: Clock;
};

/** Makes what a PushCluster asks for, and says how that went. What a deleted one owned is the garbage collector's. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  /** Statuses that were written and may not have come back yet: one for each cluster. */
  readonly #written = new Map<string, { over: string | undefined; status: Status }>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** @param key `namespace/name` of a PushCluster; it may be gone */
  readonly reconcile = async (key: string): Promise<Result> => {
    const cluster = this.#options.view.cluster(key);
    if (!cluster || cluster.metadata.deletionTimestamp) {
      this.#written.delete(key);
      return {};
    }
    const wanted = await this.#desired(cluster);
    const problems = 'problem' in wanted ? [wanted.problem] : await this.#apply(wanted.objects);
    if ('objects' in wanted) {
      await this.#prune(cluster, wanted.objects);
      if (problems.length === 0) await this.#bringSettings(cluster);
    }
    await this.#tell(cluster, problems);
    return problems.length > 0 ? { againIn: REFUSED_AGAIN_MS } : {};
  };

  async #desired(cluster: PushCluster): Promise<{ objects: DesiredObject[] } | { problem: Problem }> {
    const { view, images } = this.#options;
    try {
      const objects = desired(cluster, {
        images,
        gatewayReplicas: cluster.spec.gateway.replicas,
        logicReplicas: logicReplicas(cluster, view.workload(cluster, 'logic')),
        serviceMonitors: view.serviceMonitors,
        secrets: await view.secrets(cluster),
        random: randomBytes,
      });
      return { objects };
    } catch (error) {
      if (!(error instanceof UnusableSettings)) throw error;
      return { problem: { object: titleOf(cluster), reason: 'invalid', message: error.message } };
    }
  }

  /** One that is refused keeps none of the others from being applied. */
  async #apply(objects: readonly DesiredObject[]): Promise<Problem[]> {
    const { applier, view } = this.#options;
    const problems: Problem[] = [];
    for (const object of objects)
      try {
        await applier.apply(object, view.made(object));
      } catch (error) {
        // Whoever doesn't answer is asked again soon: nothing is wrong with the cluster.
        if (!isKubeError(error) || error.reason === 'unavailable') throw error;
        problems.push({ object: titleOf(object), reason: error.reason, message: error.message });
      }
    return problems;
  }

  /** Deletes what was desired once and isn't any more. */
  async #prune(cluster: PushCluster, objects: readonly DesiredObject[]): Promise<void> {
    const { view, client, applier } = this.#options;
    const wanted = new Set(objects.map((object) => `${object.kind} ${keyOf(object)}`));
    for (const object of view.belongings(cluster)) {
      const { uid, deletionTimestamp } = object.metadata;
      if (deletionTimestamp || wanted.has(`${object.kind} ${keyOf(object)}`)) continue;
      await client.delete(object, uid === undefined ? {} : { uid });
      applier.forget(object);
    }
  }

  /** A pod whose annotation changes gets the ConfigMap's new content at once, and not within a minute or so. */
  async #bringSettings(cluster: PushCluster): Promise<void> {
    const { view, client } = this.#options;
    for (const role of ['gateway', 'logic'] as const) {
      const hash = settingsHash(cluster, role);
      for (const pod of view.pods(cluster, role)) {
        if (pod.metadata.annotations?.[SETTINGS_ANNOTATION] === hash) continue;
        try {
          await client.patch(pod, { metadata: { annotations: { [SETTINGS_ANNOTATION]: hash } } });
        } catch (error) {
          // It has ended meanwhile.
          if (!isKubeError(error, 'notFound')) throw error;
        }
      }
    }
  }

  async #tell(cluster: PushCluster, problems: readonly Problem[]): Promise<void> {
    const { view, client, recorder, images } = this.#options;
    const { name, namespace, resourceVersion } = cluster.metadata;
    const key = `${namespace}/${name}`;
    const written = this.#written.get(key);
    // The copy of the cluster is late: what was written counts until it has moved on.
    const before = written && written.over === resourceVersion ? written.status : cluster.status;
    const now = new Date(this.#clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z');
    const status = statusOf(view.observed(cluster, images, problems), before, now);
    if (isDeepStrictEqual(before, status)) return;
    const { apiVersion, kind } = cluster;
    await client.applyStatus({ apiVersion, kind, metadata: { name, namespace }, status });
    this.#written.set(key, { over: resourceVersion, status });
    const { uid } = cluster.metadata;
    const about = {
      apiVersion,
      kind,
      metadata: { name, namespace, uid, ...(resourceVersion ? { resourceVersion } : {}) },
    };
    for (const condition of transitions(before, status)) {
      // Ready only sums up the others.
      if (condition.type === 'Ready') continue;
      recorder.record(about, {
        type: isBad(condition) ? 'Warning' : 'Normal',
        reason: condition.reason,
        action: 'Reconcile',
        note: condition.message,
      });
    }
  }
}

function isBad({ type, status }: Condition): boolean {
  return (type === 'Degraded' && status === 'True') || (type === 'Available' && status === 'False');
}
