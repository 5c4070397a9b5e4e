import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { PushCluster } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { keyOf } from '../kube/objects.ts';
import type { ClusterCache } from './clusterCache.ts';
import type { Role } from './desired/names.ts';
import { isMounting, type NotReadyReason } from './notReadyReason.ts';
import { objectEvents, type Told } from './objectEvents.ts';
import type { ReconcileErrors } from './reconcileErrors.ts';

/** Time in which a kubelet normally mounts the volumes of a pod, milliseconds. */
const PATIENCE_MS = 20_000;
/** Minimum time between two requests for the events of a pod, milliseconds. */
const LOOK_AGAIN_MS = 15_000;
/** A kubelet tries each volume again after at most 2 minutes and 2 seconds. */
const TRIED_EVERY_MS = 122_000;

/** The fields of a PushCluster that a volume is made of. */
const FIELDS: Readonly<Record<Role, Readonly<Record<string, string>>>> = {
  gateway: { tls: 'gateway.service.tls', jwt: 'auth.jwt', nats: 'nats' },
  logic: { tls: 'logic.service.tls', keys: 'logic.apiKeys', nats: 'nats' },
  nats: { tls: 'nats.managed.tls', jetstream: 'nats.managed.jetstream' },
};

/**
 * Finds pods that wait for a volume, such as one of a Secret that does not exist. Kubernetes tells that by events alone:
 * they are requested for one pod of each role, if it waits for long.
 */
export class MountFailures {
  readonly #cache: ClusterCache;
  readonly #client: Client;
  readonly #clock: Clock;
  /** When to request events next, by the clock's `now`, and what the last ones said: by cluster and uid of the pod. */
  readonly #waiting = new Map<string, Map<string, { due: number; reason?: NotReadyReason }>>();

  constructor(cache: ClusterCache, client: Client, clock: Clock) {
    this.#cache = cache;
    this.#client = client;
    this.#clock = clock;
  }

  /** Looks at the pods of a cluster. Returns the milliseconds after which to look again. */
  async look(cluster: PushCluster, errors: ReconcileErrors): Promise<number | undefined> {
    const key = keyOf(cluster);
    const before = this.#waiting.get(key);
    const waiting = new Map<string, { due: number; reason?: NotReadyReason }>();
    const now = this.#clock.now();
    for (const role of ['gateway', 'logic', 'nats'] as const) {
      const found = [...this.#cache.pods(cluster, role)].filter(isMounting);
      const pod = found.find(({ metadata }) => before?.has(metadata.uid ?? '')) ?? found[0];
      if (!pod) continue;
      const uid = pod.metadata.uid ?? '';
      const known = before?.get(uid) ?? { due: now + PATIENCE_MS };
      waiting.set(uid, known);
      if (known.due > now) continue;
      known.due = now + LOOK_AGAIN_MS;
      const told = await errors.collect(pod, () => objectEvents(this.#client, pod, 'FailedMount'));
      const why = told && mountFailure(told, role);
      if (why !== undefined) known.reason = { pod: pod.metadata.name, why, isStuck: true };
    }
    if (waiting.size === 0) this.#waiting.delete(key);
    else this.#waiting.set(key, waiting);
    const due = [...waiting.values()].map((each) => each.due - now);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** Why a pod of the cluster is not ready, by the pod's uid. */
  reasons(cluster: PushCluster): ReadonlyMap<string, NotReadyReason> {
    const waiting = this.#waiting.get(keyOf(cluster)) ?? new Map<string, { reason?: NotReadyReason }>();
    return new Map([...waiting].flatMap(([uid, { reason }]) => (reason ? [[uid, reason]] : [])));
  }

  forget(key: string): void {
    this.#waiting.delete(key);
  }
}

/** A kubelet's `MountVolume.SetUp failed for volume "tls" : secret "live-tls" not found`. */
const FAILURE = /\w+\.\w+ failed for volume "([^"]+)" : (.+)/s;

/**
 * What the events of a pod say of its volumes; undefined if nothing. Of several volumes the first one by name, so that the
 * text stays the same while the kubelet tries all of them again.
 * @param told the latest last
 */
export function mountFailure(told: readonly Told[], role: Role): string | undefined {
  const latest = told.at(-1)?.at ?? 0;
  const [first] = told
    .filter(({ at }) => latest - at <= TRIED_EVERY_MS)
    .flatMap(({ note }) => {
      const [, volume, why] = FAILURE.exec(note) ?? [];
      return volume === undefined || why === undefined ? [] : [{ volume, why }];
    })
    .sort((a, b) => (a.volume < b.volume ? -1 : 1));
  if (!first) return undefined;
  const field = FIELDS[role][first.volume];
  return `volume ${first.volume}${field === undefined ? '' : ` (${field})`} cannot be mounted: ${first.why}`;
}
