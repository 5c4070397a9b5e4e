import { longestWindow } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { DrainPace } from './drainPace.ts';
import type { Moves } from './moves.ts';

const PACE_MS = 100;
/** What a drain is given at least, milliseconds, where its time is over already: no burst even then. */
const LEAST_MS = 10_000;

export type DrainOptions = {
  moves: Pick<Moves, 'connections' | 'unasked' | 'ask' | 'follow' | 'fresh' | 'stopListening'>;
  settings: () => Settings;
  /** How many other gateways drain now: the pace is one for all of them. */
  draining: () => number;
  log: Logger;
  /** It has begun, was undone, or has nobody left to ask. */
  changed: () => void;
};

/**
 * A gateway's drain: everyone is moved away at a pace that all draining gateways share, and that rises as needed to be
 * done in time. It is ordered, and then can be undone, or it is the way out of a process that was told to end.
 */
export class Drain {
  readonly #options: DrainOptions;
  #ordered = false;
  #leaving = false;
  /** Which run of the loop goes on: an earlier one ends at its next step. */
  #turn = 0;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  get active(): boolean {
    return this.#ordered || this.#leaving;
  }

  /** The process was told to end: nobody new is taken after `drain.settle`. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /**
   * Drains, and goes on listening: who comes is moved on. Undefined undoes it.
   * @param since when it was ordered, milliseconds since the epoch: it is done by `drain.timeout` from then
   */
  order(since: number | undefined): void {
    const { log, changed, settings, moves } = this.#options;
    this.#ordered = since !== undefined;
    if (this.#leaving) return;
    const turn = ++this.#turn;
    changed();
    if (since === undefined) {
      log.info({ connections: moves.connections }, 'no longer to drain: it serves on');
      return;
    }
    const { timeout } = settings().gateway.drain;
    const left = Math.max(Math.min(LEAST_MS, timeout), Math.min(timeout, since + timeout - Date.now()));
    log.info({ connections: moves.connections, since: new Date(since).toISOString(), left }, 'told to drain');
    void this.#run(turn, left, 'drain');
  }

  /** Leaves well: accepts for `drain.settle`, then moves everyone away. Resolves when all are gone or time is up. */
  async leave(): Promise<void> {
    const { log, settings, moves, changed } = this.#options;
    const { settle, timeout } = settings().gateway.drain;
    this.#leaving = true;
    changed();
    log.info({ connections: moves.connections, settle, timeout }, 'leaving: accepting a little longer');
    await wait(settle);
    moves.stopListening();
    await this.#run(++this.#turn, timeout, 'leave');
  }

  async #run(turn: number, timeout: number, reason: 'drain' | 'leave'): Promise<void> {
    const { moves, settings, log, changed, draining } = this.#options;
    const longest = () => longestWindow(settings());
    const rate = () => settings().gateway.drain.rate / (1 + draining());
    const pace = new DrainPace(rate, performance.now(), timeout, longest);
    // Counts are as old as the shards' last report: begin with one that is newer than the closed listeners.
    const unfollow = moves.follow();
    await moves.fresh();
    if (pace.tooShort && moves.connections > 0)
      log.warn(
        { timeout, longest: longest() },
        'drain.timeout is short for the longest maxDelay: what waits in it may be missed',
      );
    log.info({ connections: moves.connections }, 'moving connections away');
    let before = 0;
    while (turn === this.#turn) {
      if (reason === 'leave' && (moves.connections === 0 || performance.now() >= pace.end)) break;
      const { unasked } = moves;
      // Who has nobody left leaves the pace to the others.
      if ((unasked === 0) !== (before === 0)) changed();
      before = unasked;
      const { count, ...time } = pace.step(performance.now(), unasked);
      if (count > 0) moves.ask(count, time, reason);
      await wait(PACE_MS);
    }
    unfollow();
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
