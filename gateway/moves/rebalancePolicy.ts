import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Pacer } from './pacer.ts';

export type RebalanceSettings = Settings['gateway']['rebalance'];

/** What a gateway knows when it decides. Its own counts are current, those of the others some seconds old. */
export type View = {
  /** Connections that were not asked to move. */
  own: number;
  /** How many of those may be moved now. */
  movable: number;
  /** Connections of the other gateways that were not asked to move. */
  others: readonly number[];
  /** How many of the others move their surplus at present: they share the rate. */
  rebalancing: number;
  /** When a gateway last appeared, disappeared, or began or ended to drain, milliseconds. */
  changedAt: number;
  /** A gateway drains, a rollout is in progress, or the bus is disconnected. */
  blocked: boolean;
};

/** Connections before a move, and how many of them were asked. */
type Tally = { before: number; asked: number };
type Plan = Tally & { budget: number; pacer: Pacer };
type Phase =
  | { type: 'watching'; fullSince: number | undefined }
  | ({ type: 'moving' } & Plan)
  | ({ type: 'resting'; until: number } & Tally);

/** A gateway must be over the threshold, and the set of gateways unchanged, for this long, milliseconds. */
export const HOLD_MS = 10_000;
/** Time until the connections that were asked are counted at their new gateways, milliseconds. */
export const REST_MS = 10_000;
/** If moving did not help (the load balancer sends clients back), the next attempt waits this long, then twice as long, milliseconds. */
const PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 3_600_000;

/**
 * Decides whether and how fast a gateway moves its surplus over the average away. Each move has a budget: the surplus at
 * its start. After it the policy waits for new counts, so that outdated counts cannot make it move too many. Pure: time
 * and counts come in as arguments.
 */
export class RebalancePolicy {
  readonly #settings: () => RebalanceSettings;
  #phase: Phase = { type: 'watching', fullSince: undefined };
  #pause = 0;
  #notBefore = Number.NEGATIVE_INFINITY;
  #full = false;

  constructor(settings: () => RebalanceSettings) {
    this.#settings = settings;
  }

  get moving(): boolean {
    return this.#phase.type === 'moving';
  }

  /** It is over the threshold, or moves its surplus: new connections should go to others. */
  get full(): boolean {
    return this.#phase.type === 'watching' ? this.#full : true;
  }

  /** How many to ask now. Call it every 100 ms while `moving`, otherwise every few seconds. @param now milliseconds */
  step(now: number, view: View): number {
    const settings = this.#settings();
    if (view.blocked || view.others.length === 0 || settings.rate === 0) {
      this.#phase = { type: 'watching', fullSince: undefined };
      this.#full = false;
      return 0;
    }
    switch (this.#phase.type) {
      case 'watching':
        this.#watch(now, view, this.#phase.fullSince);
        return 0;
      case 'moving':
        return this.#move(now, view, this.#phase);
      case 'resting':
        if (now >= this.#phase.until) this.#judge(now, view, this.#phase);
        return 0;
    }
  }

  #watch(now: number, view: View, before: number | undefined) {
    const over = surplus(view.own, view.others, this.#settings());
    this.#full = over > 0;
    const budget = Math.min(over, view.movable);
    const fullSince = budget > 0 && now >= this.#notBefore ? (before ?? now) : undefined;
    this.#phase =
      fullSince !== undefined && now - Math.max(fullSince, view.changedAt) >= HOLD_MS
        ? { type: 'moving', pacer: new Pacer(now), before: view.own, budget, asked: 0 }
        : { type: 'watching', fullSince };
  }

  #move(now: number, view: View, plan: Plan): number {
    const settings = this.#settings();
    const over = view.own - goal(view.own, view.others, settings);
    const wanted = Math.max(0, Math.min(plan.budget - plan.asked, over, view.movable));
    if (wanted === 0) {
      this.#phase = { type: 'resting', until: now + REST_MS, before: plan.before, asked: plan.asked };
      return 0;
    }
    const count = plan.pacer.take(now, settings.rate / (1 + view.rebalancing), wanted);
    plan.asked += count;
    return count;
  }

  /** Did the move help? At least a quarter of those asked should be gone. */
  #judge(now: number, view: View, { before, asked }: Tally) {
    const futile = asked > 0 && before - view.own < asked / 4;
    this.#pause = futile ? Math.min(LONGEST_PAUSE_MS, Math.max(PAUSE_MS, 2 * this.#pause)) : 0;
    this.#notBefore = now + this.#pause;
    // The rest counts as the time over the threshold.
    this.#phase = { type: 'watching', fullSince: now - HOLD_MS };
  }
}

/** The connections that a gateway should move away; 0 if it is not over the threshold. */
export function surplus(own: number, others: readonly number[], settings: RebalanceSettings): number {
  return own > settings.threshold * average(own, others) ? Math.max(0, own - goal(own, others, settings)) : 0;
}

/** The size at which a move ends: a little above the average, which is never known exactly. */
function goal(own: number, others: readonly number[], { threshold, minimum }: RebalanceSettings): number {
  return Math.max(minimum, Math.ceil(average(own, others) * (1 + (threshold - 1) / 4)));
}

function average(own: number, others: readonly number[]): number {
  return others.reduce((sum, other) => sum + other, own) / (others.length + 1);
}
