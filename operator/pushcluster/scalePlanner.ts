import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { PushCluster } from '../api/pushCluster.ts';
import type { PodStatusPoller } from '../podStatus/podStatusPoller.ts';
import type { ClusterCache } from './clusterCache.ts';
import { gatewayDrain } from './desired/validSettings.ts';
import type { Readings } from './observedGateways.ts';
import { type ObservedGateways, type ScalePlan, scalePlan, UNSEEN, type Wanted } from './scalePolicy.ts';
import { currentGateways, type WantedGateways, wantedGateways } from './wantedGateways.ts';

/**
 * The status of a ReplicaSet lags behind its pods. It is reported as a reason for waiting only after this time,
 * milliseconds.
 */
const PATIENCE_MS = 5_000;
const UNSEEN_AGAIN_MS = 500;

/** Statuses of pods, which can be refreshed. */
export type LiveReadings = Readings & Pick<PodStatusPoller, 'refresh'>;

/** A plan, the gateways that it is based on, and the number of them that it leads to. */
export type Planned = { gateways: ObservedGateways; planned: ScalePlan; wanted: WantedGateways };

/** Makes the scale plan of a cluster, with current numbers of connections if it depends on them. */
export class ScalePlanner {
  readonly #cache: ClusterCache;
  readonly #readings: LiveReadings;
  readonly #clock: Clock;
  /** Since when clusters wait for the status of their ReplicaSet, by the clock's `now`. */
  readonly #unseen = new Map<string, number>();

  constructor(cache: ClusterCache, readings: LiveReadings, clock: Clock) {
    this.#cache = cache;
    this.#readings = readings;
    this.#clock = clock;
  }

  /**
   * The next steps. Polls the pods first if gateways have to be chosen by their connections, for 5 s at most.
   * @throws InvalidSettings
   */
  async plan(cluster: PushCluster): Promise<Planned> {
    let gateways = this.#cache.gateways(cluster, this.#readings);
    let planned = this.#of(cluster, gateways);
    if (planned.asks) {
      await this.#readings.refresh(gateways.pods.map(({ uid }) => uid));
      gateways = { ...this.#cache.gateways(cluster, this.#readings), isAskedAnew: true };
      planned = this.#of(cluster, gateways);
    }
    const wanted = wantedGateways(cluster, currentGateways(gateways));
    return { gateways, planned: this.#patient(keyOf(cluster), planned), wanted };
  }

  /** Whether the plan removes gateways that are needed by now, for example because another gateway failed meanwhile. */
  isOutdated(cluster: PushCluster, { gateways, planned }: Omit<Planned, 'wanted'>): boolean {
    if (gateways.replicas === undefined || planned.replicas >= gateways.replicas) return false;
    const now = { ...this.#cache.gateways(cluster, this.#readings), isAskedAnew: gateways.isAskedAnew };
    return this.#of(cluster, now).replicas !== planned.replicas;
  }

  forget(key: string): void {
    this.#unseen.delete(key);
  }

  #of(cluster: PushCluster, gateways: ObservedGateways): ScalePlan {
    return scalePlan(gateways, wantedOf(cluster, gateways), this.#clock.wall());
  }

  #patient(key: string, planned: ScalePlan): ScalePlan {
    if (planned.waits !== UNSEEN) {
      this.#unseen.delete(key);
      return planned;
    }
    const now = this.#clock.now();
    const since = this.#unseen.get(key) ?? now;
    this.#unseen.set(key, since);
    return now - since < PATIENCE_MS ? { ...planned, waits: undefined, againIn: UNSEEN_AGAIN_MS } : planned;
  }
}

/** The plan while the settings are invalid: the number of gateways stays as it is. */
export function unchanged({ pods, replicas = 0 }: ObservedGateways): ScalePlan {
  const phase = pods.some(({ drainSince }) => drainSince !== undefined) ? 'draining' : 'steady';
  return { replicas, changes: new Map(), steps: [], waits: undefined, phase };
}

function wantedOf(cluster: PushCluster, gateways: ObservedGateways): Wanted {
  const { rebalance, rollout } = cluster.spec.gateway;
  return {
    replicas: wantedGateways(cluster, currentGateways(gateways)).replicas,
    drain: gatewayDrain(cluster),
    rebalance: rebalance.rate > 0 ? { threshold: rebalance.threshold, minimum: rebalance.minimum } : undefined,
    maxTerminating: rollout.maxTerminating,
  };
}

function keyOf({ metadata: { namespace, name } }: PushCluster): string {
  return `${namespace}/${name}`;
}
