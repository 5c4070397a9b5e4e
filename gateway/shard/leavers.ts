import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { reconnectFrame } from '@pushcluster/protocol/frames.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { MoveReason, MoveTime } from '../ipc/move.ts';
import { Oldest } from './oldest.ts';
import type { Session } from './session.ts';

export const LEAVING = 'this gateway is leaving';
/** Why a session ends where a user may have one. */
export const REPLACED = 'the user opened a newer connection';

export type LeaversOptions = {
  counts: Pick<ShardCounts, 'moved' | 'answersDropped'>;
  /** Milliseconds; only differences count. */
  now: () => number;
  /** Everyone who may be served. */
  all: () => readonly Session[];
  /** Those who have yet to send their first token. */
  unauthorized: () => readonly Session[];
  end: (session: Session, code: CloseCode, reason: string) => void;
  /** Calls `run` once after `ms` milliseconds; the returned function calls it off. */
  after: (ms: number, run: () => void) => () => void;
};

/** Connections of a shard that were asked to go elsewhere, or are being closed: none is asked twice. */
export class Leavers {
  readonly #options: LeaversOptions;
  readonly #oldest: Oldest;
  /** What happens to those that were asked when their time is over; gone with them. */
  readonly #timers = new Map<Session, () => void>();
  /** Those whose RECONNECT found no room in their socket, and until when they may leave. */
  readonly #untold = new Map<Session, { until: number; overlapMs: number }>();
  #count = 0;

  constructor(options: LeaversOptions) {
    this.#options = options;
    this.#oldest = new Oldest(options.all);
  }

  get count(): number {
    return this.#count;
  }

  /** Connections that `askOldest` would still find, at most. @param unasked those that were not asked to move */
  movable(unasked: number): number {
    return this.#oldest.left(unasked);
  }

  /** It was asked, or is being closed. */
  add(session: Session): void {
    if (!session.moving) this.#count++;
    session.moving = true;
  }

  /** It is gone, or stays after all. */
  remove(session: Session): void {
    if (session.moving) this.#count--;
    session.moving = false;
    this.#timers.get(session)?.();
    this.#timers.delete(session);
    this.#untold.delete(session);
  }

  /** Asks or makes up to `count` connections that were not asked yet to leave: v1 by RECONNECT, others by 1012. */
  ask(count: number, time: MoveTime, reason: MoveReason): void {
    const { counts, all, unauthorized, end, now } = this.#options;
    let left = count;
    for (const session of [...unauthorized(), ...all()]) {
      if (left === 0) return;
      if (session.moving) continue;
      left--;
      counts.moved[reason]++;
      if (!session.v1 || !session.authorized) {
        end(session, CloseCode.goingAway, LEAVING);
        continue;
      }
      this.add(session);
      if (!session.say(reconnectFrame(time.withinMs, time.overlapMs))) {
        counts.answersDropped++;
        this.#untold.set(session, { until: now() + time.withinMs, overlapMs: time.overlapMs });
      }
      this.#after(time.withinMs, session, () => end(session, CloseCode.goingAway, LEAVING));
    }
  }

  /**
   * Asks up to `count` connections to go elsewhere, those that came first. One that can't within its time stays.
   * @param others also those who don't understand RECONNECT, by 1012
   */
  askOldest(count: number, time: MoveTime, others: boolean): void {
    const { counts, end } = this.#options;
    for (let left = count; left > 0; left--) {
      const session = this.#oldest.next(others);
      if (!session) return;
      if (!session.v1) {
        counts.moved.rebalance++;
        end(session, CloseCode.goingAway, 'other gateways have more room');
        continue;
      }
      // One whose socket is full of what it has yet to read can't come with us now: it stays, and another one goes.
      if (!session.say(reconnectFrame(time.withinMs, time.overlapMs))) {
        counts.answersDropped++;
        left++;
        continue;
      }
      counts.moved.rebalance++;
      this.add(session);
      this.#after(time.withinMs, session, () => {
        this.remove(session);
        if (session.replaced) end(session, CloseCode.replaced, REPLACED);
      });
    }
  }

  /** The socket of one that could not be told has drained: it is told now, with the time that is left. */
  drained(session: Session): void {
    const untold = this.#untold.get(session);
    if (!untold) return;
    const left = Math.max(0, Math.round(untold.until - this.#options.now()));
    if (session.say(reconnectFrame(left, untold.overlapMs))) this.#untold.delete(session);
  }

  #after(ms: number, session: Session, run: () => void) {
    const cancel = this.#options.after(ms, () => {
      this.#timers.delete(session);
      run();
    });
    this.#timers.set(session, cancel);
  }

  /** From now on only sessions up to this one are asked by `askOldest`; undefined: any. */
  mark(lastId: number | undefined): void {
    this.#oldest.mark(lastId);
  }
}
