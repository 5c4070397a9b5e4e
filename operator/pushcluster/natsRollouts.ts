import type { Clock } from '@pushcluster/runtime/clock.ts';

/** How far a rollout is. */
export type RolloutProgress = {
  /** Generation of the StatefulSet. */
  generation: number;
  /** Servers of the current template. */
  updated: number;
  /** Ready servers, of any template. */
  ready: number;
};

export type RolloutOutlook = {
  /** In progress, and not given up. */
  isActive: boolean;
  /** Milliseconds until it is given up if it makes no progress. */
  againIn?: number;
};

/** A rollout without progress is given up after this time, milliseconds: the default deadline of Deployments. */
export const DEADLINE_MS = 600_000;

/**
 * Gives up rollouts of NATS that make no progress, as Kubernetes does with those of Deployments: a StatefulSet has no
 * deadline. Another operator process begins to count anew.
 */
export class NatsRollouts {
  readonly #clock: Pick<Clock, 'now'>;
  /** The best seen of each rollout, by cluster, and since when. */
  readonly #best = new Map<string, RolloutProgress & { since: number }>();

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** @param progress undefined if no rollout of the cluster's servers is in progress */
  look(key: string, progress: RolloutProgress | undefined): RolloutOutlook {
    if (progress === undefined) {
      this.#best.delete(key);
      return { isActive: false };
    }
    const now = this.#clock.now();
    const before = this.#best.get(key);
    const best = before && !isFurther(progress, before) ? before : { ...progress, since: now };
    this.#best.set(key, best);
    const left = best.since + DEADLINE_MS - now;
    return left > 0 ? { isActive: true, againIn: left } : { isActive: false };
  }

  /** The PushCluster is deleted, or no longer managed. */
  forget(key: string): void {
    this.#best.delete(key);
  }
}

function isFurther({ generation, updated, ready }: RolloutProgress, best: RolloutProgress): boolean {
  return generation !== best.generation || updated > best.updated || (updated === best.updated && ready > best.ready);
}
