import type { Position } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import type { Emitter } from './emitter.ts';
import { NEVER } from './handover.ts';
import { History } from './history.ts';
import { PushError } from './pushError.ts';
import type { PushEvents } from './pushEvents.ts';
import type { JoinOptions, Room, RoomPosition } from './stream.ts';
import { type StreamFrame, Subscription } from './subscription.ts';

/** What a room tells the client that it belongs to. */
export interface RoomOwner {
  /** The page left it. */
  leave(room: RoomSubscription): void;
  /** A gateway refused the JOIN, or (`left`) the API took the client out of it. */
  lost(room: RoomSubscription, error: PushError): void;
  /** A JOIN was answered: the move may be complete. */
  answered(): void;
  /** Milliseconds until a JOIN that can't be served now is sent again. */
  retryDelay(failures: number): number;
}

/** A room: joined on each connection that opens, until it is left. */
export class RoomSubscription<Item = unknown> extends Subscription<Item> implements Room<Item> {
  declare readonly name: string;
  readonly joined: Promise<void>;
  readonly leave: () => void;
  readonly #owner: RoomOwner;
  readonly #events: Emitter<PushEvents>;
  #admit!: () => void;
  #refuse!: (error: PushError) => void;
  readonly #signals = new Set<AbortSignal>();
  readonly #history: History;

  constructor(
    name: string,
    owner: RoomOwner,
    events: Emitter<PushEvents>,
    limit: number,
    former: RoomSubscription | undefined,
    { since, last }: JoinOptions,
  ) {
    super(name, events, limit, true, former);
    this.#owner = owner;
    this.#events = events;
    this.leave = () => owner.leave(this as RoomSubscription);
    this.joined = new Promise((resolve, reject) => {
      this.#admit = resolve;
      this.#refuse = reject;
    });
    this.#history = new History(this, since, last, former?.position);
    // Refusals are told by an event too: nobody has to look at the promise.
    this.joined.catch(() => {});
  }

  override get position(): RoomPosition | undefined {
    return this.#history.position;
  }

  override admit(): void {
    this.#admit();
    const { source } = this.#history;
    const { connections } = this.handover;
    // The connection that brought what follows is gone, and another one is left that is in the room.
    if (source && !connections.includes(source)) this.rejoin(connections[0]!);
  }

  override opened(connection: Connection): void {
    this.#join(connection);
  }

  override receive(connection: Connection, frame: StreamFrame): number {
    if (connection.leaving.has(this.name)) return 0;
    if (frame.type === 'PUSH' || frame.type === 'RESET') {
      const serves = connection === this.handover.connections[0];
      if (!frame.data.epoch) {
        if (serves) this.#history.restart(undefined, undefined, 'reset');
      } else if (this.#history.follow(connection, frame.data, serves)) return 0;
    }
    if (frame.type !== 'LEAVE') return super.receive(connection, frame);
    const { code, reason } = frame.data;
    const error = new PushError(code || 'left', reason);
    if (!code) this.#lose(connection, error);
    else {
      this.rejoin(connection);
      this.#events.emit('error', error);
    }
    return 0;
  }

  /** Sends LEAVE on each open connection but `gone`, where the gateway has ended the membership. */
  quit(gone?: Connection): void {
    for (const connection of this.handover.connections) {
      if (connection !== gone && connection.openedAt !== undefined) connection.leave(this.name);
    }
  }

  /** Leaves when `signal` aborts. The listener is removed if the room ends before. */
  leaveOn(signal: AbortSignal): void {
    signal.addEventListener('abort', this.leave);
    this.#signals.add(signal);
  }

  /** @param refusal rejects `joined`; `error` is for iterations, which end quietly without one */
  override end(error?: PushError, refusal = error): void {
    super.end(error);
    this.#settle(refusal);
  }

  override discard(refusal?: PushError): void {
    super.discard();
    this.#settle(refusal);
  }

  /** Joins again, unless a JOIN has no answer yet: one is enough. @param failures of doing so, which make it wait */
  rejoin(connection: Connection, failures = 0): void {
    if (this.handover.readyAt(connection) === NEVER) return;
    this.#history.pause();
    if (failures > 0) this.#joinLater(connection, failures);
    else this.#join(connection);
  }

  #joinLater(connection: Connection, failures: number) {
    this.handover.setReady(connection, false);
    connection.after(this.#owner.retryDelay(failures), () => {
      if (!this.ended) this.#join(connection, failures + 1);
    });
  }

  #join(connection: Connection, failures = 0) {
    this.handover.setReady(connection, false);
    let since: Position | undefined;
    const toJSON = () => {
      const from = this.#history.request(connection);
      since = from.since;
      return { room: this.name, ...from };
    };
    connection.request('JOIN', { toJSON }, (error, data) => {
      // The room was left, and perhaps joined anew: that JOIN has its own answer.
      if (this.ended) return;
      if (error?.code === 'unavailable') return this.#joinLater(connection, failures);
      // Said of a connection that has no token, whatever the room: the next connection may have one.
      if (error?.code === 'unauthorized') return this.#events.emit('error', error);
      if (error) return this.#lose(connection, error);
      this.#history.answered(connection, data, since, connection === this.handover.connections[0]);
      this.handover.setReady(connection, true);
      this.#owner.answered();
    });
  }

  /** `connection` is no longer in the room: then no other is either, and a move no longer waits for a JOIN of it. */
  #lose(connection: Connection, error: PushError) {
    this.quit(connection);
    this.#owner.lost(this as RoomSubscription, error);
    this.#owner.answered();
  }

  #settle(refusal: PushError | undefined) {
    if (refusal) this.#refuse(refusal);
    for (const signal of this.#signals) signal.removeEventListener('abort', this.leave);
    this.#signals.clear();
  }
}
