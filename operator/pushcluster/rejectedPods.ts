import type { Clock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { PushCluster } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { KINDS, type KubeObject, keyOf, titleOf } from '../kube/objects.ts';
import type { ClusterCache } from './clusterCache.ts';
import { managedNats } from './desired/bus.ts';
import { names } from './desired/names.ts';
import type { ReconcileErrors } from './reconcileErrors.ts';

/** A pod is made within moments of its StatefulSet, or of the end of the one before it: milliseconds. */
const PATIENCE_MS = 5_000;
/** Events are asked for this often: the controller of a busy cluster may only be late, with many at once. */
const LOOK_AGAIN_MS = 15_000;
/** Events of one StatefulSet: the API server forgets them after an hour. */
const MAX_EVENTS = 50;

/** A controller that is no part of the events API yet says when by the fields of before. */
const Event = z.object({
  note: z.string().default(''),
  eventTime: z.string().nullish(),
  deprecatedLastTimestamp: z.string().nullish(),
});
const Made = z.object({ metadata: z.object({ creationTimestamp: z.string().default('') }) });

/** Pods that admission refuses: what was to have them was taken, and says so later, in the API server's words. */
export class RejectedPods {
  readonly #cache: ClusterCache;
  readonly #client: Client;
  readonly #clock: Clock;
  /** Of clusters whose NATS servers are missing: when events are due to be looked at, by the clock's `now`, and what they said. */
  readonly #missing = new Map<string, { due: number; said: string | undefined }>();

  constructor(cache: ClusterCache, client: Client, clock: Clock) {
    this.#cache = cache;
    this.#client = client;
    this.#clock = clock;
  }

  /** Adds what is refused now to the problems. Returns the milliseconds after which it may be known better. */
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

  /** A StatefulSet has no such condition: events say it. They are asked for only where a pod is missing for long. */
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

  /** What was said last of a pod that could not be made, unless one was made since. */
  async #lastFailure(cluster: PushCluster, { metadata: { namespace, uid } }: KubeObject): Promise<string | undefined> {
    const { items } = await this.#client.list(KINDS.events, {
      ...(namespace === undefined ? {} : { namespace }),
      fieldSelector: `regarding.uid=${uid},reason=FailedCreate`,
      limit: MAX_EVENTS,
    });
    const said = items.map((item) => Event.parse(item)).map((event) => ({ at: timeOf(event), note: event.note }));
    const last = said.sort((a, b) => a.at - b.at).at(-1);
    const pods = [...this.#cache.pods(cluster, 'nats')].map((pod) => Made.parse(pod).metadata.creationTimestamp);
    return last && pods.every((time) => Date.parse(time) <= last.at) ? last.note : undefined;
  }
}

function statefulSet(cluster: PushCluster) {
  const { apiVersion, kind } = KINDS.statefulSets;
  return { apiVersion, kind, metadata: { name: names(cluster).nats, namespace: cluster.metadata.namespace } };
}

function timeOf({ eventTime, deprecatedLastTimestamp }: z.infer<typeof Event>): number {
  return Date.parse(deprecatedLastTimestamp ?? eventTime ?? '') || 0;
}
