import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { reconnectFrame } from '@pushcluster/protocol/frames.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { MoveReason, MoveTime } from '../ipc/move.ts';
import type { Connection } from './connection.ts';
import { MoveCandidates } from './moveCandidates.ts';

export const LEAVING = 'this gateway is leaving';
/** Why a connection ends where a user may have one. */
export const REPLACED = 'the user opened a newer connection';

export type MovingConnectionsOptions = {
  counts: Pick<ShardCounts, 'moved' | 'answersDropped'>;
  /** Milliseconds; only differences count. */
  now: () => number;
  /** Everyone who may be served. */
  all: () => readonly Connection[];
  /** Those who have yet to send their first token. */
  unauthorized: () => readonly Connection[];
  end: (connection: Connection, code: CloseCode, reason: string) => void;
  /** Calls `run` once after `ms` milliseconds; the returned function calls it off. */
  after: (ms: number, run: () => void) => () => void;
};

/** Connections of a shard that were asked to go elsewhere, or are being closed: none is asked twice. */
export class MovingConnections {
  readonly #options: MovingConnectionsOptions;
  readonly #candidates: MoveCandidates;
  /** What happens to those that were asked when their time is over; gone with them. */
  readonly #timers = new Map<Connection, () => void>();
  /** Those whose RECONNECT found no room in their socket, and until when they may leave. */
  readonly #unnotified = new Map<Connection, { until: number; overlapMs: number }>();
  #count = 0;

  constructor(options: MovingConnectionsOptions) {
    this.#options = options;
    this.#candidates = new MoveCandidates(options.all);
  }

  get count(): number {
    return this.#count;
  }

  /** Connections that `askOldest` would still find, at most. @param unasked those that were not asked to move */
  movable(unasked: number): number {
    return this.#candidates.left(unasked);
  }

  /** It was asked, or is being closed. */
  add(connection: Connection): void {
    if (!connection.moving) this.#count++;
    connection.moving = true;
  }

  /** It is gone, or stays after all. */
  remove(connection: Connection): void {
    if (connection.moving) this.#count--;
    connection.moving = false;
    this.#timers.get(connection)?.();
    this.#timers.delete(connection);
    this.#unnotified.delete(connection);
  }

  /** Asks or makes up to `count` connections that were not asked yet to leave: v1 by RECONNECT, others by 1012. */
  ask(count: number, time: MoveTime, reason: MoveReason): void {
    const { counts, all, unauthorized, end, now } = this.#options;
    let left = count;
    for (const connection of [...unauthorized(), ...all()]) {
      if (left === 0) return;
      if (connection.moving) continue;
      left--;
      counts.moved[reason]++;
      if (!connection.v1 || !connection.authorized) {
        end(connection, CloseCode.goingAway, LEAVING);
        continue;
      }
      this.add(connection);
      if (!connection.send(reconnectFrame(time.withinMs, time.overlapMs))) {
        counts.answersDropped++;
        this.#unnotified.set(connection, { until: now() + time.withinMs, overlapMs: time.overlapMs });
      }
      this.#after(time.withinMs, connection, () => end(connection, CloseCode.goingAway, LEAVING));
    }
  }

  /**
   * Asks up to `count` connections to go elsewhere, those that came first. One that can't within its time stays.
   * @param others also those who don't understand RECONNECT, by 1012
   */
  askOldest(count: number, time: MoveTime, others: boolean): void {
    const { counts, end } = this.#options;
    for (let left = count; left > 0; left--) {
      const connection = this.#candidates.next(others);
      if (!connection) return;
      if (!connection.v1) {
        counts.moved.rebalance++;
        end(connection, CloseCode.goingAway, 'other gateways have more room');
        continue;
      }
      // One whose socket is full of what it has yet to read can't come with us now: it stays, and another one goes.
      if (!connection.send(reconnectFrame(time.withinMs, time.overlapMs))) {
        counts.answersDropped++;
        left++;
        continue;
      }
      counts.moved.rebalance++;
      this.add(connection);
      this.#after(time.withinMs, connection, () => {
        this.remove(connection);
        if (connection.replaced) end(connection, CloseCode.replaced, REPLACED);
      });
    }
  }

  /** The socket of one that could not be told has drained: it is told now, with the time that is left. */
  drained(connection: Connection): void {
    const unnotified = this.#unnotified.get(connection);
    if (!unnotified) return;
    const left = Math.max(0, Math.round(unnotified.until - this.#options.now()));
    if (connection.send(reconnectFrame(left, unnotified.overlapMs))) this.#unnotified.delete(connection);
  }

  #after(ms: number, connection: Connection, run: () => void) {
    const cancel = this.#options.after(ms, () => {
      this.#timers.delete(connection);
      run();
    });
    this.#timers.set(connection, cancel);
  }

  /** From now on only sessions up to this one are asked by `askOldest`; undefined: any. */
  mark(lastId: number | undefined): void {
    this.#candidates.mark(lastId);
  }
}
