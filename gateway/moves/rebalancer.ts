import { longestWindow } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { moveTime } from './drainPace.ts';
import type { Moves } from './moves.ts';
import type { Peers } from './peers.ts';
import { Rebalance, type View } from './rebalance.ts';

const PACE_MS = 100;
/** Nobody has moved connections for this long, milliseconds: who was moved may be moved again. */
const EPISODE_REST_MS = 30_000;

export type RebalancerOptions = {
  moves: Pick<Moves, 'connections' | 'unasked' | 'movable' | 'askOldest' | 'mark' | 'follow'>;
  peers: Pick<Peers, 'all' | 'changedAt'>;
  settings: () => Pick<Settings, 'gateway' | 'rooms'>;
  clock: Clock;
  /** What this gateway is an instance of: others of a different one mean a rollout. */
  template: string;
  /** This gateway drains, or has no bus. */
  blocked: () => boolean;
  log: Logger;
  /** It has begun or ended to move. */
  changed: () => void;
};

/** Carries out what the rebalance decides. An episode is when any gateway moves: who came during one stays in it. */
export class Rebalancer {
  readonly #options: RebalancerOptions;
  readonly #rebalance: Rebalance;
  #cancelStep = () => {};
  #unfollow = () => {};
  /** When somebody last moved; undefined outside of an episode. */
  #episodeAt: number | undefined;

  constructor(options: RebalancerOptions) {
    this.#options = options;
    this.#rebalance = new Rebalance(() => options.settings().gateway.rebalance);
  }

  get active(): boolean {
    return this.#rebalance.moving;
  }

  /** It has far more than the others: newcomers should go to them. */
  get full(): boolean {
    return this.#rebalance.full;
  }

  /** Looks whether there is something to do: call it every few seconds, and when another begins to move its surplus. */
  look(): void {
    if (!this.active) this.#step();
    this.#episode();
  }

  stop(): void {
    this.#halt();
  }

  #step() {
    const { moves, settings, log, changed } = this.#options;
    const wasMoving = this.active;
    const count = this.#rebalance.step(this.#options.clock.now(), this.#view());
    if (count > 0) moves.askOldest(count, moveTime(longestWindow(settings())), settings().gateway.rebalance.moveOthers);
    if (this.active) this.#cancelStep = this.#options.clock.after(PACE_MS, () => this.#step());
    if (this.active === wasMoving) return;
    const { connections, unasked } = moves;
    if (this.active) {
      log.info({ connections, others: this.#view().others }, 'fuller than the others: moving some of them away');
      this.#episode();
      this.#unfollow = moves.follow();
    } else {
      log.info({ connections, unasked }, 'moved what there was above the average, or may not now');
      this.#halt();
    }
    changed();
  }

  #halt() {
    this.#cancelStep();
    this.#unfollow();
    this.#unfollow = () => {};
  }

  #view(): View {
    const { moves, peers, template, blocked } = this.#options;
    const all = peers.all;
    const inRollout = all.some((peer) => peer.template !== template);
    return {
      own: moves.unasked,
      movable: moves.movable,
      others: all.map(({ unasked }) => unasked),
      rebalancing: all.filter(({ rebalancing }) => rebalancing).length,
      changedAt: peers.changedAt,
      blocked: blocked() || inRollout || all.some(({ draining }) => draining),
    };
  }

  /** Marks who is here when somebody begins to move, and takes the mark back some time after all have ended. */
  #episode() {
    const { moves, peers, clock } = this.#options;
    const now = clock.now();
    if (this.active || peers.all.some(({ rebalancing }) => rebalancing)) {
      if (this.#episodeAt === undefined) moves.mark(true);
      this.#episodeAt = now;
    } else if (this.#episodeAt !== undefined && now - this.#episodeAt >= EPISODE_REST_MS) {
      this.#episodeAt = undefined;
      moves.mark(false);
    }
  }
}
