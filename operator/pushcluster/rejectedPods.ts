import type { Clock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { PushCluster } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { KINDS, type KubeObject, keyOf, titleOf } from '../kube/objects.ts';
import type { ClusterCache } from './clusterCache.ts';
import { managedNats } from './desired/bus.ts';
import { names } from './desired/names.ts';
import { objectEvents } from './objectEvents.ts';
import type { ReconcileErrors } from './reconcileErrors.ts';

/** Time in which a StatefulSet normally creates a pod, milliseconds. */
const PATIENCE_MS = 5_000;
/** Minimum time between two requests for events, milliseconds: in a busy cluster, many pods may only be late. */
const LOOK_AGAIN_MS = 15_000;
const Made = z.object({ metadata: z.object({ creationTimestamp: z.string().default('') }) });

/**
 * Finds pods that cannot be created, because of quota or admission: the Deployment or StatefulSet itself was accepted.
 */
export class RejectedPods {
  readonly #cache: ClusterCache;
  readonly #client: Client;
  readonly #clock: Clock;
  /**
   * Clusters with missing NATS servers: when to request events next, by the clock's `now`, and what the last ones said.
   */
  readonly #missing = new Map<string, { due: number; said: string | undefined }>();

  constructor(cache: ClusterCache, client: Client, clock: Clock) {
    this.#cache = cache;
    this.#client = client;
    this.#clock = clock;
  }

  /** Adds rejected pods to the errors. Returns the milliseconds after which to check again. */
  async report(cluster: PushCluster, errors: ReconcileErrors): Promise<number | undefined> {
    for (const role of ['gateway', 'logic'] as const) {
      const conditions = this.#cache.workload(cluster, role)?.status.conditions ?? [];
      const failure = conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True');
      if (failure) errors.add(`Deployment ${names(cluster)[role]}`, 'forbidden', failure.message);
    }
    return this.#reportNats(cluster, errors);
  }

  forget(key: string): void {
    this.#missing.delete(key);
  }

  /** A StatefulSet has no such condition, so events are requested, but only if a pod is missing for a while. */
  async #reportNats(cluster: PushCluster, errors: ReconcileErrors): Promise<number | undefined> {
    const key = keyOf(cluster);
    const wanted = managedNats(cluster)?.replicas ?? 0;
    const found = this.#cache.made(statefulSet(cluster));
    const made = this.#cache.workload(cluster, 'nats')?.status.replicas;
    if (!found || made === undefined || made >= wanted) {
      this.forget(key);
      return undefined;
    }
    const now = this.#clock.now();
    const missing = this.#missing.get(key) ?? { due: now + PATIENCE_MS, said: undefined };
    this.#missing.set(key, missing);
    if (missing.due <= now) {
      missing.said = await errors.collect(found, () => this.#lastFailure(cluster, found));
      missing.due = now + LOOK_AGAIN_MS;
    }
    if (missing.said !== undefined) errors.add(titleOf(found), 'forbidden', missing.said);
    return missing.due - now;
  }

  /** The last FailedCreate event, unless a pod was created since. */
  async #lastFailure(cluster: PushCluster, servers: KubeObject): Promise<string | undefined> {
    const last = (await objectEvents(this.#client, servers, 'FailedCreate')).at(-1);
    const pods = [...this.#cache.pods(cluster, 'nats')].map((pod) => Made.parse(pod).metadata.creationTimestamp);
    return last && pods.every((time) => Date.parse(time) <= last.at) ? last.note : undefined;
  }
}

function statefulSet(cluster: PushCluster) {
  const { apiVersion, kind } = KINDS.statefulSets;
  return { apiVersion, kind, metadata: { name: names(cluster).nats, namespace: cluster.metadata.namespace } };
}
