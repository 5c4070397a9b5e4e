import { longestWindow } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { moveTime } from './moveTime.ts';
import type { Peers } from './peers.ts';
import { RebalancePolicy, type View } from './rebalancePolicy.ts';
import type { ShardMoves } from './shardMoves.ts';

const STEP_MS = 100;
/** After no gateway has moved connections for this long, milliseconds, those that were moved may be moved again. */
const EPISODE_REST_MS = 30_000;

export type RebalancerOptions = {
  moves: Pick<ShardMoves, 'connections' | 'unasked' | 'movable' | 'askOldestToMove' | 'mark' | 'reportOften'>;
  peers: Pick<Peers, 'all' | 'changedAt'>;
  settings: () => Pick<Settings, 'gateway' | 'rooms'>;
  clock: Pick<Clock, 'now' | 'after'>;
  /** The template of this gateway. A gateway with another one means that a rollout is in progress. */
  template: string;
  /** This gateway drains, or is not connected to the bus. */
  blocked: () => boolean;
  log: Logger;
  /** Moving has begun or ended. */
  changed: () => void;
};

/**
 * Carries out what RebalancePolicy decides. An episode lasts while any gateway moves connections: those that open during
 * an episode are not moved in it, so that no connection is moved twice.
 */
export class Rebalancer {
  readonly #options: RebalancerOptions;
  readonly #policy: RebalancePolicy;
  #cancelStep = () => {};
  #stopReports = () => {};
  /** When a gateway last moved connections; undefined outside of an episode. */
  #episodeAt: number | undefined;

  constructor(options: RebalancerOptions) {
    this.#options = options;
    this.#policy = new RebalancePolicy(() => options.settings().gateway.rebalance);
  }

  get active(): boolean {
    return this.#policy.moving;
  }

  /** Over the threshold: new connections should go to other gateways. */
  get full(): boolean {
    return this.#policy.full;
  }

  /** Checks whether to move connections. Call it every few seconds, and when another gateway begins or ends to move. */
  check(): void {
    if (!this.active) this.#step();
    this.#followEpisode();
  }

  stop(): void {
    this.#halt();
  }

  #step() {
    const { moves, settings, log, changed } = this.#options;
    const wasMoving = this.active;
    const count = this.#policy.step(this.#options.clock.now(), this.#view());
    if (count > 0)
      moves.askOldestToMove(count, moveTime(longestWindow(settings())), settings().gateway.rebalance.moveOthers);
    if (this.active) this.#cancelStep = this.#options.clock.after(STEP_MS, () => this.#step());
    if (this.active === wasMoving) return;
    const { connections, unasked } = moves;
    if (this.active) {
      log.info({ connections, others: this.#view().others }, 'rebalancing: moving the surplus over the average away');
      this.#followEpisode();
      this.#stopReports = moves.reportOften();
    } else {
      log.info({ connections, unasked }, 'rebalancing ended');
      this.#halt();
    }
    changed();
  }

  #halt() {
    this.#cancelStep();
    this.#stopReports();
    this.#stopReports = () => {};
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

  /** Marks the open connections when an episode begins, and removes the mark some time after it has ended. */
  #followEpisode() {
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
