import { CloseCode, type Comeback, comebackAfter } from '@pushcluster/protocol/closeCodes.ts';
import { type Backoff, retryDelay } from './backoff.ts';
import {
  Connection,
  type ConnectionConfig,
  type ConnectionOwner,
  type Delivery,
  type Held,
  type News,
  type WireFrame,
} from './connection.ts';
import { Pace } from './pace.ts';
import { PushError } from './pushError.ts';
import type { Feed, RoomFeed } from './stream.ts';

/**
 * `connecting` · `open` · `moving` (open, and on its way to another gateway) · `waiting` (for the next attempt) ·
 * `closed` (for good).
 */
export type ClientState = 'connecting' | 'open' | 'moving' | 'waiting' | 'closed';

export type Closed = {
  code: number;
  reason: string;
  willRetry: boolean;
  /** Milliseconds until the next attempt; absent where there is none, or where it is under way. */
  retryIn?: number;
};

export type ReconnectorConfig = { connection: ConnectionConfig; backoff: Backoff; random: () => number };

export interface ReconnectorOwner {
  readonly rooms: ReadonlyMap<string, RoomFeed>;
  state(state: ClientState): void;
  opened(): void;
  /** Taken over by another gateway, with nothing lost between. */
  moved(): void;
  closed(event: Closed): void;
  /** The stream that a frame is for. */
  feed(frame: Delivery): Feed | undefined;
  deliver(frame: Delivery): void;
  refused(room: RoomFeed, error: PushError): void;
  /** The API took us out of a room. */
  left(room: RoomFeed, reason: string): void;
  failed(error: PushError): void;
  wire(): ((frame: WireFrame) => void) | undefined;
}

/**
 * For how much of a move's time the old connection is still listened to once the new one has joined, where an older gateway
 * doesn't say how long: it may hold items in its merge window that were published before.
 */
const OVERLAP = 0.25;
/** Closed for sending too fast so often, the client stays away: at half the pace each time that can't be why any more. */
const MOST_SLOWDOWNS = 8;
/** Clients that are asked to move together spread over this time, at most, in milliseconds. */
const MOVE_JITTER = 250;
/** Items kept of a new connection during a move; any other frame counts as one. */
const MAX_HELD = 10_000;
/** What is kept of them where the old connection stands still: below, so that not each frame looks through all. */
const STILL_HELD = 9_000;
/** Connections at once and a second, at most, whatever options, gateways and platform say. */
const CONNECTS = 10;
const CONNECTS_PER_SECOND = 1;

type Move = {
  /** Since when the new connection is in all rooms, and misses nothing that the old one brings. */
  readyAt: number | undefined;
  failures: number;
};

/** One lasting link made of connections that come and go: reconnects by close code, and makes before it breaks. */
export class Reconnector implements ConnectionOwner {
  readonly #config: ReconnectorConfig;
  readonly #owner: ReconnectorOwner;
  #state: ClientState = 'connecting';
  #current: Connection | undefined;
  #next: Connection | undefined;
  #move: Move | undefined;
  #moveTimers: (() => void)[] = [];
  #retry: (() => void) | undefined;
  #retryAt = 0;
  readonly #pace = new Pace(CONNECTS, CONNECTS_PER_SECOND);
  #failures = 0;
  /** How often it was closed for sending too fast. */
  #slowdowns = 0;
  #settled: Promise<unknown> = Promise.resolve();

  constructor(config: ReconnectorConfig, owner: ReconnectorOwner) {
    this.#config = config;
    this.#owner = owner;
  }

  get state(): ClientState {
    return this.#state;
  }

  connect(): void {
    this.#retry?.();
    this.#retry = undefined;
    this.#become('connecting');
    if (this.#isOver()) return;
    this.#current = this.#connection();
    this.#current.start();
  }

  join(room: RoomFeed): void {
    for (const connection of this.#open()) this.#join(connection, room);
    this.#step();
  }

  /** @param by the connection that is no member any more: we may not stay one on the other */
  leave(name: string, by?: Connection): void {
    by?.joining.delete(name);
    for (const connection of this.#open()) if (connection !== by) connection.leave(name);
    this.#step();
  }

  /** The network may be back, or another: comes back soon, or looks whether the connection still works. */
  online(): void {
    if (this.#state !== 'waiting') this.#current?.probe();
    else {
      const ms = this.#pause(0, 0);
      // The event comes often where a network comes and goes: it must not put off what is due.
      if (this.#now() + ms < this.#retryAt) this.#retryIn(ms);
    }
  }

  close(): void {
    this.#end();
    void this.#current?.close();
    this.#become('closed');
  }

  opened(connection: Connection): void {
    if (this.#isOver()) return;
    for (const room of this.#owner.rooms.values()) this.#join(connection, room);
    if (connection === this.#current) {
      this.#become('open');
      this.#owner.opened();
    } else this.#step();
  }

  received(connection: Connection, frame: News): void {
    if (this.#isOver()) return;
    if (frame.type === 'RECONNECT') {
      const { withinMs, overlapMs } = frame.data;
      connection.leaveBy = this.#now() + withinMs;
      connection.overlap = overlapMs! >= 0 ? overlapMs! : withinMs * OVERLAP;
      if (connection === this.#current) this.#startMove();
      return;
    }
    const name = frame.data.room!;
    if (connection.leaving.has(name)) return;
    if (frame.type === 'LEAVE') {
      const room = this.#owner.rooms.get(name);
      const { code, reason } = frame.data;
      if (!room) return;
      if (code) {
        // With a JOIN under way it is tried again anyway.
        if (!connection.joining.has(name)) this.#join(connection, room);
        this.#owner.failed(new PushError(code, reason));
        return;
      }
      this.leave(name, connection);
      this.#owner.left(room, reason);
    } else if (connection.held) this.#hold(connection, connection.held, frame);
    else this.#owner.deliver(frame);
  }

  closed(connection: Connection, code: number, reason: string): void {
    // What it received may be inflated for longer than we stay.
    if (this.#isOver()) return;
    if (connection === this.#next) this.#nextClosed(code);
    else if (connection === this.#current) this.#currentClosed(connection, code, reason);
  }

  #currentClosed(connection: Connection, code: number, reason: string) {
    if (connection.openedAt !== undefined && this.#now() - connection.openedAt >= this.#config.backoff.stable)
      this.#failures = 0;
    const comeback = this.#comeback(code);
    // Where a user may have one session, the new one replaces the old one: 4004 means that it is there.
    if (this.#next && (comeback !== 'stop' || code === CloseCode.replaced)) return this.#promote(code, reason);
    this.#end();
    if (comeback === 'stop' || (comeback === 'refresh' && typeof this.#config.connection.token !== 'function')) {
      this.#become('closed');
      return this.#owner.closed({ code, reason, willRetry: false });
    }
    const retryIn = this.#pause(this.#failures++, code);
    this.#retryIn(retryIn);
    this.#become('waiting');
    this.#owner.closed({ code, reason, willRetry: true, retryIn });
  }

  failed(error: PushError): void {
    this.#owner.failed(error);
  }

  wire() {
    return this.#owner.wire();
  }

  #connection() {
    this.#pace.take(this.#now());
    return new Connection(this.#config.connection, this, 2 ** -this.#slowdowns);
  }

  /** What is to be done after `code`; too fast: it sends at half the pace from now on. */
  #comeback(code: number): Comeback {
    const comeback = comebackAfter(code);
    return comeback === 'slower' && ++this.#slowdowns > MOST_SLOWDOWNS ? 'stop' : comeback;
  }

  #open(): Connection[] {
    return [this.#current, this.#next].filter((connection) => connection?.openedAt !== undefined) as Connection[];
  }

  #join(connection: Connection, room: RoomFeed, failures = 0) {
    const { name } = room;
    connection.joining.add(name);
    connection.request('JOIN', joinData(room), (error) => {
      // It was left meanwhile, and perhaps joined anew: that JOIN has its own answer.
      if (this.#owner.rooms.get(name) !== room) return;
      if (error?.code === 'unavailable') {
        const delay = retryDelay(failures, 0, this.#config.backoff, this.#config.random());
        return connection.after(delay, () => {
          if (this.#owner.rooms.get(name) === room) this.#join(connection, room, failures + 1);
        });
      }
      connection.joining.delete(name);
      if (error) {
        this.leave(name, connection);
        if (error.code === 'left') this.#owner.left(room, error.message);
        else this.#owner.refused(room, error);
        // What only the next connection has joined does not come yet.
      } else if (connection === this.#current) room.admit();
      this.#step();
    });
  }

  #startMove() {
    if (this.#move) return this.#step();
    this.#move = { readyAt: undefined, failures: 0 };
    this.#become('moving');
    if (this.#isOver()) return;
    const wait = Math.max(this.#config.random() * MOVE_JITTER, this.#pace.wait(this.#now()));
    this.#afterInMove(wait, () => this.#openNext());
  }

  #openNext() {
    this.#next = this.#connection();
    this.#next.held = [];
    this.#next.start();
  }

  #nextClosed(code: number) {
    this.#next = undefined;
    const move = this.#move!;
    move.readyAt = undefined;
    const delay = this.#pause(move.failures++, code);
    const pointless = this.#comeback(code) === 'stop' || this.#now() + delay >= this.#current!.leaveBy;
    if (!pointless) return this.#afterInMove(delay, () => this.#openNext());
    // The old connection serves on until its gateway ends it; then we come back like anybody.
    this.#endMove();
    this.#become('open');
  }

  /** Looks how far the move is, and ends it when it is time. */
  #step() {
    const move = this.#move;
    if (!move) return;
    const { leaveBy, overlap } = this.#current!;
    if (this.#next?.openedAt === undefined || this.#next.joining.size > 0) {
      move.readyAt = undefined;
      return;
    }
    move.readyAt ??= this.#now();
    const wait = Math.max(leaveBy - overlap, move.readyAt + overlap) - this.#now();
    if (wait <= 0) this.#promote();
    else this.#afterInMove(wait, () => this.#step());
  }

  /** The next connection takes over. `code` and `reason` where the old one has ended by itself, perhaps too early. */
  #promote(code?: number, reason?: string) {
    const old = this.#current!;
    const next = this.#next!;
    // Not ready is undefined: no comparison with it is true.
    const whole = code === undefined || this.#now() >= this.#move!.readyAt! + old.overlap;
    this.#endMove();
    this.#current = next;
    this.#next = undefined;
    // What the new one missed in a whole move the old one has delivered.
    if (whole) next.held = next.held!.filter(({ frame }) => frame.type === 'PUSH');
    // What the old one received goes first, even where it is still being inflated.
    this.#settled = Promise.all([this.#settled, old.close()]).then(() => {
      const held = next.held ?? [];
      next.held = undefined;
      // A room that was left meanwhile, and perhaps joined anew, is another stream.
      for (const { frame, feed } of held) if (feed === this.#owner.feed(frame)) this.received(next, frame);
    });
    if (!whole) {
      this.#become('connecting');
      this.#owner.closed({ code: code!, reason: reason!, willRetry: true });
    }
    if (this.#isOver() || next.openedAt === undefined) return;
    for (const room of this.#owner.rooms.values()) if (!next.joining.has(room.name)) room.admit();
    this.#become('open');
    if (whole) this.#owner.moved();
    else this.#owner.opened();
    if (next.leaveBy && !this.#isOver()) this.#startMove();
  }

  #hold(connection: Connection, held: Held[], frame: Delivery) {
    held.push({ frame, feed: this.#owner.feed(frame) });
    const move = this.#move;
    // The old connection brings what this one missed, in its time. What a room's policy cuts is cut there too.
    if (move?.readyAt && frame.type === 'LAGGED' && frame.data.reason !== 'overload') move.readyAt = this.#now();
    connection.heldItems += itemsOf(frame);
    if (connection.heldItems <= MAX_HELD) return;
    const fresh = held.filter(({ frame, feed }) => frame.type !== 'PUSH' || (feed && !feed.covers(frame.data.ids)));
    let items = fresh.reduce((sum, { frame }) => sum + itemsOf(frame), 0);
    // Where the old connection stands still, the oldest go: the streams tell the gap.
    let from = 0;
    while (items > STILL_HELD && from < fresh.length - 1) items -= itemsOf(fresh[from++]!.frame);
    connection.held = fresh.slice(from);
    connection.heldItems = items;
  }

  /** Milliseconds until an attempt after so many failures. */
  #pause(failures: number, code: number): number {
    const delay = retryDelay(failures, code, this.#config.backoff, this.#config.random());
    return Math.max(delay, this.#pace.wait(this.#now()));
  }

  #retryIn(ms: number) {
    this.#retry?.();
    this.#retryAt = this.#now() + ms;
    this.#retry = this.#config.connection.clock.after(ms, () => this.connect());
  }

  #afterInMove(ms: number, run: () => void) {
    this.#moveTimers.push(this.#config.connection.clock.after(ms, run));
  }

  #endMove() {
    this.#move = undefined;
    for (const cancel of this.#moveTimers.splice(0)) cancel();
  }

  /** Ends all but the current connection. */
  #end() {
    this.#endMove();
    this.#retry?.();
    void this.#next?.close();
    this.#next = undefined;
  }

  #become(state: ClientState) {
    if (this.#state === state) return;
    this.#state = state;
    this.#owner.state(state);
  }

  /** A listener may close us wherever it is told something. */
  #isOver() {
    return this.#state === 'closed';
  }

  #now() {
    return this.#config.connection.clock.now();
  }
}

function itemsOf(frame: Delivery): number {
  return frame.type === 'PUSH' ? Math.max(1, frame.data.items.length) : 1;
}

/** What a JOIN says. Resuming by sequence will add `since` here. */
function joinData(room: RoomFeed): object {
  return { room: room.name };
}
