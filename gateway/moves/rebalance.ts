import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Pace } from './pace.ts';

export type RebalanceSettings = Settings['gateway']['rebalance'];

/** What a gateway knows when it decides: its own counts are of now, others' some seconds old. */
export type View = {
  /** Connections that were not asked to move. */
  own: number;
  /** Of those, how many may be moved now. */
  movable: number;
  /** Connections of the other gateways that were not asked to move. */
  others: readonly number[];
  /** How many of them move their surplus now: the rate is for all together. */
  rebalancing: number;
  /** When a gateway last came or went, milliseconds. */
  changedAt: number;
  /** Somebody drains, gateways are being replaced, or the others can't be heard. */
  blocked: boolean;
};

/** What it had, and how many of it were asked. */
type Tally = { before: number; asked: number };
type Plan = Tally & { budget: number; pace: Pace };
type Phase =
  | { type: 'watching'; fullSince: number | undefined }
  | ({ type: 'moving' } & Plan)
  | ({ type: 'resting'; until: number } & Tally);

/** Fuller than the threshold, and the same gateways, for this long, milliseconds: those that start together are all seen. */
export const HOLD_MS = 10_000;
/** Until those who were asked are counted where they went, milliseconds. */
export const REST_MS = 10_000;
/** Where moving did not help (a balancer sends them back) the next try waits, and each time twice as long, milliseconds. */
const PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 3_600_000;

/**
 * Whether and how fast a gateway moves away what it has above the average. Each move follows a plan: the surplus of the
 * moment when it is made, no more than that is asked to go, and then it looks anew; so that old readings can't make it
 * move too many. Pure: time and readings come in as arguments.
 */
export class Rebalance {
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

  /** It is over the threshold, or moves its surplus: no newcomer should be sent here. */
  get full(): boolean {
    return this.#phase.type === 'watching' ? this.#full : true;
  }

  /** How many to ask now: call it every 100 ms while `moving`, else every few seconds. @param now milliseconds */
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
        ? { type: 'moving', pace: new Pace(now), before: view.own, budget, asked: 0 }
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
    const count = plan.pace.take(now, settings.rate / (1 + view.rebalancing), wanted);
    plan.asked += count;
    return count;
  }

  /** Did it help? */
  #judge(now: number, view: View, { before, asked }: Tally) {
    const futile = asked > 0 && before - view.own < asked / 4;
    this.#pause = futile ? Math.min(LONGEST_PAUSE_MS, Math.max(PAUSE_MS, 2 * this.#pause)) : 0;
    this.#notBefore = now + this.#pause;
    // It has just looked on for as long.
    this.#phase = { type: 'watching', fullSince: now - HOLD_MS };
  }
}

/** How many connections a gateway has too many; 0 where it is not over the threshold. */
export function surplus(own: number, others: readonly number[], settings: RebalanceSettings): number {
  return own > settings.threshold * average(own, others) ? Math.max(0, own - goal(own, others, settings)) : 0;
}

/** What a gateway that is too full goes down to: a little above the average, which is never known exactly. */
function goal(own: number, others: readonly number[], { threshold, minimum }: RebalanceSettings): number {
  return Math.max(minimum, Math.ceil(average(own, others) * (1 + (threshold - 1) / 4)));
}

function average(own: number, others: readonly number[]): number {
  return others.reduce((sum, other) => sum + other, own) / (others.length + 1);
}
