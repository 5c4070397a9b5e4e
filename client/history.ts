import type { Position, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import type { ResetReason, RoomEvents, RoomPosition } from './stream.ts';

type Push = Extract<ServerFrame, { type: 'PUSH' }>['data'];
type Reset = Extract<ServerFrame, { type: 'RESET' }>['data'];
type Answer = Extract<ServerFrame, { type: 'OK' }>['data'];

/** The room of a history. */
export interface HistoryRoom {
  take(push: Pick<Push, 'items'> & { ids: Push['ids'] | undefined }, now: number, isNew: boolean): void;
  emit<Name extends 'resumed' | 'reset'>(name: Name, event: RoomEvents<unknown>[Name]): void;
  rejoin(connection: Connection, failures: number): void;
}

/**
 * The place of a room in its history, if it has one. One connection at a time brings what is pushed: the last on which a
 * JOIN was answered with a place. Only what follows on the place is delivered.
 */
export class History {
  /** The connection that brings what follows. Until there is one it is the connection that serves. */
  source: Connection | undefined;
  readonly #room: HistoryRoom;
  /** Replaced, never changed, and before anything is told. */
  #position: Position | undefined;
  readonly #last: number | null | undefined;
  /** Where an earlier subscription of the room was. */
  readonly #former: Position | undefined;
  /** When nothing was missing up to the position: by the clock's `now`, and by its wall. Empty: not known. */
  #current: { heardAt?: number | undefined; heardWall?: number | undefined } = {};
  /** What comes next may say that it follows on something before this position: an OK has said that nothing lies between. */
  #vouched: Position | undefined;
  /** What comes after what was missed follows on this, if that is not the last push of it. */
  #target: Position | undefined;
  /** What was missed ends at this seq; -1: nothing was. */
  #missedTo = -1;
  #missed = 0;
  /** JOINs since something followed on. */
  #tries = 0;

  constructor(
    room: HistoryRoom,
    since: RoomPosition | null | undefined,
    last: number | null | undefined,
    former: Position | undefined,
  ) {
    this.#room = room;
    this.#last = last;
    this.#former = former;
    if (!since) return;
    const { epoch, seq, at } = since;
    this.#position = { epoch, seq };
    this.#current = { heardAt: 1 / 0, heardWall: at };
  }

  get position(): RoomPosition | undefined {
    return this.#position && { ...this.#position, at: this.#current.heardWall };
  }

  /** What a JOIN on `connection` says. */
  request(connection: Connection): { since?: Position; away?: number | undefined; last?: number | undefined } {
    const since = this.#position;
    if (!since) return { last: this.#last ?? undefined };
    const { heardAt, heardWall } = this.#current;
    // A monotonic clock may stand still while the machine sleeps, and the other one may be set.
    const away = Math.max(connection.now() - heardAt!, connection.wall() - heardWall!);
    return { since, away: away >= 0 ? Math.ceil(away) : undefined };
  }

  /** A JOIN that said `since` was answered. @param serves whether frames of `connection` are delivered where there is no history */
  answered(connection: Connection, answer: Answer, since: Position | undefined, serves: boolean): void {
    const { epoch, seq = 0, recovered, replayTo } = answer;
    // Another connection serves the room without its history. What this one brings is held back.
    if (!serves && !(epoch && since)) return;
    if (!epoch) this.restart(undefined, undefined, 'unrecovered');
    else if (recovered && (this.#position?.epoch ?? epoch) === epoch) {
      this.source = connection;
      this.#vouched = since;
      this.#target = replayTo === undefined ? undefined : { epoch, seq };
      this.#missedTo = replayTo ?? seq;
    } else {
      const former = this.#former;
      const isBehind = !this.#position && former?.epoch === epoch && former.seq > seq;
      this.restart(connection, isBehind ? former : { epoch, seq }, 'unrecovered');
    }
    this.#catchUp(connection);
  }

  /** A PUSH or RESET with a place. @returns whether it is dealt with: otherwise it is held back */
  follow(connection: Connection, frame: Push | Reset, serves: boolean): boolean {
    const { epoch, seq, prev = seq, items, ids } = frame as Push & Position;
    if (this.source ? this.source !== connection : !serves) return Boolean(this.source);
    if (!items || (this.#position ?? frame).epoch !== epoch) this.restart(connection, { epoch, seq: prev }, 'reset');
    const position = this.#position;
    const from = position?.seq ?? prev;
    if (!items || seq <= from) return true;
    if (prev === from || (this.#vouched === position && prev < from && seq <= this.#missedTo)) {
      this.source = connection;
      this.#position = { epoch, seq };
      this.#missed += items.length;
      this.#tries = 0;
      this.#room.take({ items, ids }, connection.now(), Boolean(position) || this.#missedTo >= 0);
      this.#catchUp(connection);
    } else {
      this.#current = {};
      this.#room.rejoin(connection, this.#tries++);
    }
    return true;
  }

  /** What is heard from now on says nothing about the room. */
  pause(): void {
    const { heardAt, heardWall } = this.#current;
    this.#current = { heardAt, heardWall };
  }

  /** `source` brings what follows on `position`, which does not follow on what came before. */
  restart(source: Connection | undefined, position: Position | undefined, reason: ResetReason): void {
    const known = this.#position;
    this.source = source;
    this.#current = source ?? {};
    this.#position = position;
    this.#missedTo = -1;
    this.#target = undefined;
    if (known) this.#room.emit('reset', { reason });
  }

  #catchUp(connection: Connection) {
    const to = this.#missedTo;
    if (to > (this.#position?.seq ?? 0)) return;
    const items = this.#missed;
    this.#missed = 0;
    this.#missedTo = -1;
    this.#current = connection;
    if (this.#target) this.#position = this.#target;
    this.#target = undefined;
    if (to >= 0) this.#room.emit('resumed', { items });
  }
}
