import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { reconnectFrame } from '@pushcluster/protocol/frames.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { MoveReason, MoveTime } from '../ipc/move.ts';
import type { Connection } from './connection.ts';
import { MoveCandidates } from './moveCandidates.ts';

export const LEAVING = 'this gateway is leaving';
/** Why a connection ends if each user may have only one. */
export const REPLACED = 'the user opened a newer connection';

export type MovingConnectionsOptions = {
  counts: Pick<ShardCounts, 'moved' | 'answersDropped'>;
  /** Milliseconds of a monotonic clock. */
  now: () => number;
  /** All authorized connections. */
  all: () => readonly Connection[];
  /** Connections that have yet to send their first token. */
  unauthorized: () => readonly Connection[];
  end: (connection: Connection, code: CloseCode, reason: string) => void;
  /** Calls `run` once after `ms` milliseconds. The returned function cancels it. */
  after: (ms: number, run: () => void) => () => void;
};

/**
 * Connections that were asked to move to another gateway (by RECONNECT), or are being closed. None of them is asked again. A
 * drain moves everyone, and ends those who do not move in time. Rebalancing moves the oldest, and who does not move stays.
 */
export class MovingConnections {
  readonly #options: MovingConnectionsOptions;
  readonly #candidates: MoveCandidates;
  /** Of each connection that was asked, what cancels the timer that runs when its time is over. */
  readonly #timers = new Map<Connection, () => void>();
  /** Connections whose RECONNECT was dropped, since their buffer was full, and until when they may move. */
  readonly #unnotified = new Map<Connection, { until: number; overlapMs: number }>();
  #count = 0;

  constructor(options: MovingConnectionsOptions) {
    this.#options = options;
    this.#candidates = new MoveCandidates(options.all);
  }

  get count(): number {
    return this.#count;
  }

  /** How many connections `askOldest` would still find, at most. @param unasked connections that were not asked to move */
  movable(unasked: number): number {
    return this.#candidates.left(unasked);
  }

  /** The connection is being closed. */
  add(connection: Connection): void {
    if (!connection.moving) this.#count++;
    connection.moving = true;
  }

  /** The connection is gone, or stays after all. */
  remove(connection: Connection): void {
    if (connection.moving) this.#count--;
    connection.moving = false;
    this.#timers.get(connection)?.();
    this.#timers.delete(connection);
    this.#unnotified.delete(connection);
  }

  /** Moves up to `count` connections that were not asked yet, for a drain: v1 clients by RECONNECT, others by close code 1012. */
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
   * Asks up to `count` connections to move, the oldest first, for rebalancing. One that does not move in time stays.
   * @param others whether clients that don't understand RECONNECT are moved, too, by close code 1012
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
      // Its buffer is full: it could not move in time. Another one moves instead.
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

  /** The socket's buffer has drained. If its RECONNECT was dropped, it is sent now, with the time that is left. */
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

  /** From now on `askOldest` asks only connections up to this id; undefined: any. */
  mark(lastId: number | undefined): void {
    this.#candidates.mark(lastId);
  }
}
