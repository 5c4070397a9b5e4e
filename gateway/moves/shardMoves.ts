import { systemClock } from '@pushcluster/runtime/clock.ts';
import { proportionalShares } from '../admission/proportionalShares.ts';
import type { ShardProcess } from '../hub/shardProcess.ts';
import type { MoveReason, MoveTime } from '../ipc/move.ts';

/** Longest wait for a new report of all shards, milliseconds, and the interval between two checks. */
const FRESH_WITHIN_MS = 2_000;
const CHECK_MS = 20;

/** What moves need of a shard. */
export type MovableShard = Pick<ShardProcess, 'counts' | 'listening' | 'send'>;

/** Asks connections of all shards to move to another gateway, and counts those that can be asked. */
export class ShardMoves {
  readonly #shards: () => readonly MovableShard[];
  #readers = 0;
  #marked = false;

  constructor(shards: () => readonly MovableShard[]) {
    this.#shards = shards;
  }

  get connections(): number {
    return this.#sum((shard) => shard.counts?.connections ?? 0);
  }

  /** Connections that were not asked to move. The shards report it, since some of those that were asked also leave by themselves. */
  get unasked(): number {
    return this.#sum((shard) => shard.counts?.unasked ?? 0);
  }

  /** Connections that may be moved by a rebalance: those opened before the mark, if there is one. */
  get movable(): number {
    return this.#sum((shard) => shard.counts?.movable ?? 0);
  }

  /** Asks `count` connections to move: of each shard in proportion to those that were not asked yet. */
  askToMove(count: number, time: MoveTime, reason: Exclude<MoveReason, 'rebalance'>): void {
    this.#ask(count, 'unasked', (part) => ({ type: 'move', count: part, time, reason }));
  }

  /** Asks the `count` oldest of the movable connections to move. @param others closes clients that do not speak v1, too */
  askOldestToMove(count: number, time: MoveTime, others: boolean): void {
    this.#ask(count, 'movable', (part) => ({ type: 'moveOldest', count: part, time, others }));
  }

  /** Sets a mark: only connections that are open now stay movable. Or removes it: all are movable. */
  mark(on: boolean): void {
    this.#marked = on;
    this.#send({ type: 'mark', on });
  }

  stopListening(): void {
    this.#send({ type: 'stopListening' });
  }

  /** Has the shards report often until the returned function is called, for a pace that depends on their counts. */
  reportOften(): () => void {
    if (++this.#readers === 1) this.#send({ type: 'reportOften', on: true });
    let reading = true;
    return () => {
      if (!reading) return;
      reading = false;
      if (--this.#readers === 0) this.#send({ type: 'reportOften', on: false });
    };
  }

  /** Tells a new shard process what the others were told. */
  started(shard: MovableShard): void {
    if (this.#readers > 0) shard.send({ type: 'reportOften', on: true });
    if (this.#marked) shard.send({ type: 'mark', on: true });
  }

  /** Resolves when each shard has reported again, or after FRESH_WITHIN_MS. */
  async freshCounts(): Promise<void> {
    const before = new Map(this.#shards().map((shard) => [shard, shard.counts]));
    const until = systemClock.now() + FRESH_WITHIN_MS;
    while (systemClock.now() < until) {
      if (this.#shards().every((shard) => !shard.listening || shard.counts !== before.get(shard))) return;
      await new Promise((resolve) => setTimeout(resolve, CHECK_MS));
    }
  }

  #ask(count: number, of: 'unasked' | 'movable', message: (part: number) => Parameters<MovableShard['send']>[0]) {
    const shards = this.#shards();
    const sizes = shards.map((shard) => shard.counts?.[of] ?? 0);
    for (const [i, part] of proportionalShares(count, sizes).entries()) if (part > 0) shards[i]?.send(message(part));
  }

  #send(message: Parameters<MovableShard['send']>[0]) {
    for (const shard of this.#shards()) shard.send(message);
  }

  #sum(of: (shard: MovableShard) => number): number {
    return this.#shards().reduce((sum, shard) => sum + of(shard), 0);
  }
}
