import { longestWindow } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { pause, systemClock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { WatchedFile } from '@pushcluster/runtime/watchedFile.ts';
import { followDrainOrderFile } from './drainOrderFile.ts';
import { DrainSchedule } from './drainSchedule.ts';
import type { ShardMoves } from './shardMoves.ts';

const STEP_MS = 100;
/** A drain gets at least this long even if its time is over, milliseconds, or `drain.timeout` if that is less: never a burst. */
const LEAST_MS = 10_000;

export type DrainOptions = {
  moves: Pick<ShardMoves, 'connections' | 'unasked' | 'askToMove' | 'reportOften' | 'freshCounts' | 'stopListening'>;
  settings: () => Settings;
  /** How many other gateways drain at present: they share the rate. */
  draining: () => number;
  log: Logger;
  /** It has begun, was cancelled, or has nobody left to ask. */
  changed: () => void;
};

/**
 * Moves all connections of this gateway away: `drain.rate` a second, shared by all draining gateways, or faster if needed
 * to finish in time. A drain is ordered, and can then be cancelled, or it is part of the shutdown of the process.
 */
export class Drain {
  readonly #options: DrainOptions;
  #ordered = false;
  #leaving = false;
  /** The number of the present run. An earlier run ends at its next step. */
  #run = 0;
  #orderFile: WatchedFile | undefined;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  get active(): boolean {
    return this.#ordered || this.#leaving;
  }

  /** The process shuts down: it accepts no new connections after `drain.settle`. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /** Follows the orders in a file (drainOrderFile.ts) until the process shuts down. */
  follow(path: string): void {
    this.#orderFile = followDrainOrderFile(path, this.#options.log, (since) => this.order(since));
  }

  /**
   * Keeps listening for as long as the order stands. Once `drain.settle` has passed since the order, moves connections
   * away, new ones too. Undefined cancels the order.
   * @param since when it was ordered, milliseconds since 1970: it ends `drain.settle` + `drain.timeout` later
   */
  order(since: number | undefined): void {
    const { log, changed, settings, moves } = this.#options;
    this.#ordered = since !== undefined;
    if (this.#leaving) return;
    const run = ++this.#run;
    changed();
    if (since === undefined) {
      log.info({ connections: moves.connections }, 'the order to drain was cancelled');
      return;
    }
    const { settle } = settings().gateway.drain;
    log.info({ connections: moves.connections, since: new Date(since).toISOString(), settle }, 'ordered to drain');
    void this.#drainOrdered(run, since);
  }

  async #drainOrdered(run: number, since: number): Promise<void> {
    const { settle, timeout } = this.#options.settings().gateway.drain;
    const left = since + settle + timeout - Date.now();
    const settles = Math.min(settle, left - timeout);
    if (settles > 0) await pause(systemClock, settles);
    if (run !== this.#run) return;
    await this.#drain(run, Math.max(Math.min(LEAST_MS, timeout), Math.min(timeout, left)), 'drain');
  }

  /** Accepts for `drain.settle`, then moves all connections away. Resolves when all are gone or time is up. */
  async leave(): Promise<void> {
    this.#orderFile?.close();
    const { log, settings, moves, changed } = this.#options;
    const { settle, timeout } = settings().gateway.drain;
    this.#leaving = true;
    changed();
    log.info(
      { connections: moves.connections, settle, timeout },
      'shutting down: new connections are accepted for settle',
    );
    await pause(systemClock, settle);
    moves.stopListening();
    await this.#drain(++this.#run, timeout, 'leave');
  }

  async #drain(run: number, timeout: number, reason: 'drain' | 'leave'): Promise<void> {
    const { moves, settings, log, changed, draining } = this.#options;
    const longest = () => longestWindow(settings());
    const rate = () => settings().gateway.drain.rate / (1 + draining());
    const schedule = new DrainSchedule(rate, systemClock.now(), timeout, longest);
    // Counts are as old as the shards' last report: begin with one that is newer than the end of listening.
    const stopReports = moves.reportOften();
    await moves.freshCounts();
    if (schedule.tooShort && moves.connections > 0)
      log.warn(
        { timeout, longest: longest() },
        'drain.timeout is too short for the longest maxDelay: clients that move may miss items',
      );
    log.info({ connections: moves.connections }, 'moving connections away');
    let before = 0;
    while (run === this.#run) {
      if (reason === 'leave' && (moves.connections === 0 || systemClock.now() >= schedule.end)) break;
      const { unasked } = moves;
      // A gateway that has asked all of its connections leaves its share of the rate to the others.
      if ((unasked === 0) !== (before === 0)) changed();
      before = unasked;
      const { count, ...time } = schedule.step(systemClock.now(), unasked);
      if (count > 0) moves.askToMove(count, time, reason);
      await pause(systemClock, STEP_MS);
    }
    stopReports();
  }
}
