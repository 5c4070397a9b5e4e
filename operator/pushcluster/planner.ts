import type { PushCluster } from '../api/pushCluster.ts';
import type { Poller } from '../gateways/poller.ts';
import type { Clock } from '../kube/clock.ts';
import { drainOf } from './desired/settings.ts';
import type { Readings } from './fleet.ts';
import type { View } from './observe.ts';
import { type Fleet, type Plan, plan, UNSEEN, type Wanted } from './scale.ts';

/** What a ReplicaSet says of its pods is a little later than they are: for so long that is nothing to tell of, milliseconds. */
const PATIENCE_MS = 5_000;
const UNSEEN_AGAIN_MS = 500;

/** What pods say, which can be asked for anew. */
export type LiveReadings = Readings & Pick<Poller, 'refresh'>;

/** A plan, and the gateways that it was made for. */
export type Planned = { fleet: Fleet; planned: Plan };

/** Plans what is done about the number of gateways, by what they say when it matters. */
export class Planner {
  readonly #view: View;
  readonly #readings: LiveReadings;
  readonly #clock: Clock;
  /** Since when it is waited for the ReplicaSet, by the clock's `now`: of clusters that scale down. */
  readonly #unseen = new Map<string, number>();

  constructor(view: View, readings: LiveReadings, clock: Clock) {
    this.#view = view;
    this.#readings = readings;
    this.#clock = clock;
  }

  /**
   * What to do next. Asks the pods first where it is to be chosen by what they hold, for 5 s at most.
   * @throws UnusableSettings
   */
  async plan(cluster: PushCluster): Promise<Planned> {
    let fleet = this.#view.fleet(cluster, this.#readings);
    let planned = this.#of(cluster, fleet);
    if (planned.asks) {
      await this.#readings.refresh(fleet.pods.map(({ uid }) => uid));
      fleet = { ...this.#view.fleet(cluster, this.#readings), isAskedAnew: true };
      planned = this.#of(cluster, fleet);
    }
    return { fleet, planned: this.#patient(keyOf(cluster), planned) };
  }

  /** Whether gateways would go that are not to go any more: one of them was lost meanwhile, or is not ready. */
  isOutdated(cluster: PushCluster, { fleet, planned }: Planned): boolean {
    if (fleet.replicas === undefined || planned.replicas >= fleet.replicas) return false;
    const now = { ...this.#view.fleet(cluster, this.#readings), isAskedAnew: fleet.isAskedAnew };
    return this.#of(cluster, now).replicas !== planned.replicas;
  }

  forget(key: string): void {
    this.#unseen.delete(key);
  }

  #of(cluster: PushCluster, fleet: Fleet): Plan {
    return plan(fleet, wantedOf(cluster), this.#clock.wall());
  }

  #patient(key: string, planned: Plan): Plan {
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

function wantedOf(cluster: PushCluster): Wanted {
  const { replicas, rebalance } = cluster.spec.gateway;
  return {
    replicas,
    drain: drainOf(cluster),
    rebalance: rebalance.rate > 0 ? { threshold: rebalance.threshold, minimum: rebalance.minimum } : undefined,
  };
}

function keyOf({ metadata: { namespace, name } }: PushCluster): string {
  return `${namespace}/${name}`;
}
