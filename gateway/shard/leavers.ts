import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { reconnectFrame } from '@pushcluster/protocol/frames.ts';
import type { MoveTime } from '../drainPace.ts';
import type { MoveReason, ShardCounts } from './counts.ts';
import { Oldest } from './oldest.ts';
import type { Session } from './session.ts';

const LEAVING = 'this gateway is leaving';
/** Why a session ends where a user may have one. */
export const REPLACED = 'the user opened a newer connection';

export type LeaversOptions = {
  counts: Pick<ShardCounts, 'moved'>;
  /** Everyone who may be served. */
  all: () => readonly Session[];
  /** Those who have yet to send their first token. */
  unauthorized: () => readonly Session[];
  end: (session: Session, code: CloseCode, reason: string) => void;
  /** Calls `run` once after `ms` milliseconds. */
  after: (ms: number, run: () => void) => void;
};

/** Connections of a shard that were asked to go elsewhere, or are being closed: none is asked twice. */
export class Leavers {
  readonly #options: LeaversOptions;
  readonly #oldest: Oldest;
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
  }

  /** Asks or makes up to `count` connections that were not asked yet to leave: v1 by RECONNECT, others by 1012. */
  ask(count: number, time: MoveTime, reason: MoveReason): void {
    const { counts, all, unauthorized, end, after } = this.#options;
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
      session.say(reconnectFrame(time.withinMs, time.overlapMs));
      after(time.withinMs, () => end(session, CloseCode.goingAway, LEAVING));
    }
  }

  /**
   * Asks up to `count` connections to go elsewhere, those that came first. One that can't within its time stays.
   * @param others also those who don't understand RECONNECT, by 1012
   */
  askOldest(count: number, time: MoveTime, others: boolean): void {
    const { counts, end, after } = this.#options;
    for (let left = count; left > 0; left--) {
      const session = this.#oldest.next(others);
      if (!session) return;
      counts.moved.rebalance++;
      if (!session.v1) {
        end(session, CloseCode.goingAway, 'other gateways have more room');
        continue;
      }
      this.add(session);
      session.say(reconnectFrame(time.withinMs, time.overlapMs));
      after(time.withinMs, () => {
        if (session.closed) return;
        this.remove(session);
        if (session.replaced) end(session, CloseCode.replaced, REPLACED);
      });
    }
  }

  /** From now on only sessions up to this one are asked by `askOldest`; undefined: any. */
  mark(lastId: number | undefined): void {
    this.#oldest.mark(lastId);
  }

  /** The last moment: whoever is left goes with 1012. */
  endAll(): void {
    const { all, unauthorized, end } = this.#options;
    for (const session of [...all(), ...unauthorized()]) end(session, CloseCode.goingAway, LEAVING);
  }
}
