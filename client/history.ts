import type { Position, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import type { ResetReason, RoomPosition } from './stream.ts';

type Items = Extract<ServerFrame, { type: 'PUSH' }>['data'];
type Answer = Extract<ServerFrame, { type: 'OK' }>['data'];

/** When the page was last current: by the clock's `now`, and by its wall. */
type Heard = { heardAt?: number; heardWall?: number | undefined };

/** What a JOIN says. */
export type From = { since?: Position; away?: number | undefined; last?: number | null | undefined };

/** What a history tells its room. */
export interface HistoryOwner {
  /** These items are new. */
  take(items: Items, now: number): void;
  resumed(items: number): void;
  lost(reason: ResetReason): void;
  /** JOIN again on `connection`, if each JOIN there was answered. */
  rejoin(connection: Connection): void;
}

/**
 * The place of a room in its history, if it has one. One connection at a time brings what is pushed: the last on which a
 * JOIN was answered with a position. Only frames that follow on the place are delivered.
 */
export class History {
  readonly #owner: HistoryOwner;
  /** Replaced and never changed. It is where the room was left before; then the next OK says where it goes on. */
  #position: Position | undefined;
  #last: number | null | undefined;
  #former: Position | undefined;
  /** When nothing was missing up to `#position`; empty: not known. */
  #heard: Heard = {};
  #source: Connection | undefined;
  /** Connections whose gateway has a history of the room. */
  readonly #counting = new WeakSet<Connection>();
  /** What comes first after an OK follows on what the JOIN said, even if that has expired and is not what `prev` says. */
  #trusts = false;
  /** What was missed ends at `to`. `items` have come. */
  #catchUp: { to: number; items: number } | undefined;

  constructor(
    owner: HistoryOwner,
    { since, last }: { since?: RoomPosition | null | undefined; last?: number | null | undefined },
    former?: Position,
  ) {
    this.#owner = owner;
    this.#last = last;
    this.#former = former;
    if (since) {
      this.#position = { epoch: since.epoch, seq: since.seq };
      this.#heard = { heardAt: 1 / 0, heardWall: since.at };
    }
  }

  get position(): RoomPosition | undefined {
    return this.#position && { ...this.#position, at: this.#heard.heardWall };
  }

  /** What a JOIN on `connection` says. */
  from(connection: Connection): From {
    const since = this.#position;
    if (!since) return { last: this.#last ?? undefined };
    const { heardAt, heardWall } = this.#heard;
    // A monotonic clock may stand still while the machine sleeps, and the other one may be set.
    const away = Math.max(connection.now() - heardAt!, connection.wall() - heardWall!);
    return { since, away: away >= 0 ? Math.ceil(away) : undefined };
  }

  /** A JOIN that said `since` was answered. @param serving the connection whose frames are delivered */
  joined(connection: Connection, { epoch, seq, recovered }: Answer, since: Position | undefined, serving: Connection) {
    if (!epoch) {
      if (connection === serving) this.forget('unrecovered');
      return;
    }
    this.#counting.add(connection);
    // A gateway without the history still serves. What this one brings is held back, as in rooms without.
    if (connection !== serving && !since) return;
    const known = this.#position;
    this.#source = connection;
    this.#trusts = false;
    if (recovered && (!known || known.epoch === epoch)) {
      this.#trusts = known === since;
      this.#catchUp = { to: seq!, items: this.#catchUp?.items ?? 0 };
    } else if (since || known?.epoch !== epoch) {
      const former = this.#former;
      this.#move(connection, former?.epoch === epoch && former.seq > seq! ? former : { epoch, seq: seq! });
      if (known) this.#owner.lost('unrecovered');
      return;
    }
    this.#caughtUp(connection);
  }

  /** @returns whether it is dealt with; otherwise it may be a frame to hold back */
  receive(connection: Connection, frame: Items, serving: Connection | undefined): boolean {
    const { epoch, seq, prev } = frame;
    if (connection !== (this.#source ?? serving)) return this.#source !== undefined;
    if (this.#position && this.#position.epoch !== epoch)
      this.reset(connection, { epoch: epoch!, seq: prev! }, serving);
    const position = this.#position;
    if (position && seq! <= position.seq) return true;
    if (position && prev !== position.seq && !(this.#trusts && prev! < position.seq)) {
      this.#heard = {};
      this.#owner.rejoin(connection);
      return true;
    }
    this.#source = connection;
    this.#trusts = false;
    this.#position = { epoch: epoch!, seq: seq! };
    if (this.#catchUp) this.#catchUp.items += frame.items.length;
    this.#owner.take(frame, connection.now());
    this.#caughtUp(connection);
    return true;
  }

  /** The history is another one from `position` on. */
  reset(connection: Connection, { epoch, seq }: Position, serving: Connection | undefined): void {
    if (connection !== (this.#source ?? serving)) return;
    this.#source = connection;
    this.#move(connection, { epoch, seq });
    this.#owner.lost('reset');
  }

  /** What comes now has no history. */
  forget(reason: ResetReason): void {
    this.#source = undefined;
    if (!this.#position) return;
    this.#move();
    this.#owner.lost(reason);
  }

  /** A connection is gone, and `serving` is left and ready. */
  left(serving: Connection): void {
    if (serving === this.#source) return;
    this.#source = undefined;
    this.#trusts = false;
    if (this.#counting.has(serving)) this.#owner.rejoin(serving);
    else this.forget('unrecovered');
  }

  #move(heard: Heard = {}, position?: Position) {
    this.#position = position;
    this.#heard = heard;
    this.#trusts = false;
    this.#catchUp = undefined;
  }

  #caughtUp(connection: Connection) {
    const catchUp = this.#catchUp;
    if (catchUp && (this.#position?.seq ?? 0) < catchUp.to) return;
    this.#heard = connection;
    this.#catchUp = undefined;
    if (catchUp) this.#owner.resumed(catchUp.items);
  }
}
