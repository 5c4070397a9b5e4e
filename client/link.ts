import { CloseCode, comebackAfter } from '@pushcluster/protocol/closeCodes.ts';
import { type Backoff, retryDelay } from './backoff.ts';
import { Connection, type ConnectionConfig, type ConnectionOwner, type News, type WireFrame } from './connection.ts';
import type { PushError } from './pushError.ts';
import type { RoomFeed } from './stream.ts';

/**
 * `connecting` · `open` · `moving` (open, and on its way to another gateway) · `waiting` (for the next attempt) ·
 * `closed` (for good).
 */
export type LinkState = 'connecting' | 'open' | 'moving' | 'waiting' | 'closed';

export type Closed = {
  code: number;
  reason: string;
  willRetry: boolean;
  /** Milliseconds until the next attempt; absent where there is none, or where it is under way. */
  retryIn?: number;
};

export type LinkConfig = { connection: ConnectionConfig; backoff: Backoff; random: () => number };

export interface LinkOwner {
  readonly rooms: ReadonlyMap<string, RoomFeed>;
  state(state: LinkState): void;
  opened(): void;
  /** Taken over by another gateway, with nothing lost between. */
  moved(): void;
  closed(event: Closed): void;
  deliver(frame: Exclude<News, { type: 'RECONNECT' | 'LEAVE' }>): void;
  /** Whether all that `frame` holds was delivered before. */
  covers(frame: News): boolean;
  refused(room: RoomFeed, error: PushError): void;
  /** The API took us out of a room. */
  left(room: RoomFeed, reason: string): void;
  failed(error: PushError): void;
  wire(): ((frame: WireFrame) => void) | undefined;
}

/**
 * How much of a move's time the old connection is still listened to, in all and at least once the new one has joined:
 * the old gateway may hold items in its merge window that were published before.
 */
const LINGER = 0.75;
const OVERLAP = 0.25;
/** Clients that are asked to move together spread over this time, at most, in milliseconds. */
const MOVE_JITTER = 250;
/** Items kept of a new connection during a move. Beyond: what the old one delivered goes, then the oldest. */
const MAX_HELD = 10_000;

type Move = {
  until: number;
  lingerUntil: number;
  overlap: number;
  /** Since when the new connection is in all rooms. */
  readyAt: number | undefined;
  failures: number;
};

/** One lasting link made of connections that come and go: reconnects by close code, and makes before it breaks. */
export class Link implements ConnectionOwner {
  readonly #config: LinkConfig;
  readonly #owner: LinkOwner;
  #state: LinkState = 'connecting';
  #current: Connection | undefined;
  #next: Connection | undefined;
  #move: Move | undefined;
  #moveTimers: (() => void)[] = [];
  #retry: (() => void) | undefined;
  #failures = 0;
  #settled: Promise<unknown> = Promise.resolve();

  constructor(config: LinkConfig, owner: LinkOwner) {
    this.#config = config;
    this.#owner = owner;
  }

  get state(): LinkState {
    return this.#state;
  }

  connect(): void {
    this.#retry?.();
    this.#retry = undefined;
    this.#become('connecting');
    this.#current = this.#connection();
    this.#current.start();
  }

  join(room: RoomFeed): void {
    for (const connection of this.#open()) this.#join(connection, room);
    this.#step();
  }

  leave(name: string): void {
    for (const connection of this.#open()) {
      connection.joining.delete(name);
      connection.send('LEAVE', { room: name });
    }
    this.#step();
  }

  /** The network may be back, or another: comes back soon, or looks whether the connection still works. */
  hurry(): void {
    if (this.#state !== 'waiting') this.#current?.probe();
    else this.#retryIn(this.#config.random() * this.#config.backoff.base);
  }

  close(): void {
    this.#end();
    void this.#current?.close();
    this.#become('closed');
  }

  opened(connection: Connection): void {
    for (const room of this.#owner.rooms.values()) this.#join(connection, room);
    if (connection === this.#current) {
      this.#become('open');
      this.#owner.opened();
    } else this.#step();
  }

  received(connection: Connection, frame: News): void {
    if (this.#state === 'closed') return;
    if (frame.type === 'RECONNECT') {
      connection.leaveBy = this.#now() + frame.data.withinMs;
      if (connection === this.#current) this.#startMove(frame.data.withinMs);
    } else if (frame.type === 'LEAVE') {
      // Before the answer to our JOIN it is about an earlier membership.
      const room = connection.joining.has(frame.data.room) ? undefined : this.#owner.rooms.get(frame.data.room);
      if (room) this.#owner.left(room, frame.data.reason);
    } else if (connection.held) this.#hold(connection, connection.held, frame);
    else this.#owner.deliver(frame);
  }

  closed(connection: Connection, code: number, reason: string): void {
    if (connection === this.#next) this.#nextClosed(code);
    else if (connection === this.#current) this.#currentClosed(connection, code, reason);
  }

  #currentClosed(connection: Connection, code: number, reason: string) {
    const comeback = comebackAfter(code);
    // Where a user may have one session, the new one replaces the old one: 4004 means that it is there.
    if (this.#next && (comeback !== 'stop' || code === CloseCode.replaced)) return this.#promote(code, reason);
    this.#end();
    if (comeback === 'stop' || (comeback === 'refresh' && typeof this.#config.connection.token !== 'function')) {
      this.#become('closed');
      return this.#owner.closed({ code, reason, willRetry: false });
    }
    if (connection.openedAt !== undefined && this.#now() - connection.openedAt >= this.#config.backoff.stable)
      this.#failures = 0;
    const retryIn = retryDelay(this.#failures++, code, this.#config.backoff, this.#config.random());
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
    return new Connection(this.#config.connection, this);
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
      if (error) this.#owner.refused(room, error);
      else room.admit();
      this.#step();
    });
  }

  #startMove(withinMs: number) {
    const until = this.#now() + withinMs;
    const lingerUntil = this.#now() + withinMs * LINGER;
    const begun = this.#move;
    this.#move = {
      until: Math.min(until, begun?.until ?? until),
      lingerUntil: Math.min(lingerUntil, begun?.lingerUntil ?? lingerUntil),
      overlap: withinMs * OVERLAP,
      readyAt: begun?.readyAt,
      failures: begun?.failures ?? 0,
    };
    if (begun) return this.#step();
    this.#become('moving');
    this.#afterInMove(this.#config.random() * MOVE_JITTER, () => this.#openNext());
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
    const delay = retryDelay(move.failures++, code, this.#config.backoff, this.#config.random());
    const pointless = comebackAfter(code) === 'stop' || this.#now() + delay >= move.until;
    if (!pointless) return this.#afterInMove(delay, () => this.#openNext());
    // The old connection serves on until its gateway ends it; then we come back like anybody.
    this.#endMove();
    this.#become('open');
  }

  /** Looks how far the move is, and ends it when it is time. */
  #step() {
    const move = this.#move;
    if (!move) return;
    if (this.#next?.openedAt === undefined || this.#next.joining.size > 0) {
      move.readyAt = undefined;
      return;
    }
    move.readyAt ??= this.#now();
    const wait = Math.max(move.lingerUntil, move.readyAt + move.overlap) - this.#now();
    if (wait <= 0) this.#promote();
    else this.#afterInMove(wait, () => this.#step());
  }

  /** The next connection takes over. `code` and `reason` where the old one has ended by itself. */
  #promote(code?: number, reason = '') {
    const old = this.#current!;
    const next = this.#next!;
    this.#endMove();
    this.#current = next;
    this.#next = undefined;
    // What the old one received goes first, even where it is still being inflated.
    this.#settled = Promise.all([this.#settled, old.close()]).then(() => {
      const held = next.held ?? [];
      next.held = undefined;
      for (const frame of held) this.received(next, frame);
    });
    if (next.openedAt !== undefined) {
      this.#become('open');
      this.#owner.moved();
      if (next.leaveBy !== undefined) this.#startMove(Math.max(0, next.leaveBy - this.#now()));
    } else {
      this.#become('connecting');
      this.#owner.closed({ code: code ?? 0, reason, willRetry: true });
    }
  }

  #hold(connection: Connection, held: News[], frame: News) {
    held.push(frame);
    connection.heldItems += itemsOf(frame);
    if (connection.heldItems <= MAX_HELD) return;
    const fresh = held.filter((kept) => !this.#owner.covers(kept));
    // Where the old connection stands still, the oldest go: the streams tell the gap.
    if (fresh.length === held.length) fresh.shift();
    connection.held = fresh;
    connection.heldItems = fresh.reduce((sum, kept) => sum + itemsOf(kept), 0);
  }

  #retryIn(ms: number) {
    this.#retry?.();
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

  #become(state: LinkState) {
    if (this.#state === state) return;
    this.#state = state;
    this.#owner.state(state);
  }

  #now() {
    return this.#config.connection.clock.now();
  }
}

function itemsOf(frame: News): number {
  return frame.type === 'PUSH' ? frame.data.items.length : 0;
}

/** What a JOIN says. Resuming by sequence will add `since` here. */
function joinData(room: RoomFeed): object {
  return { room: room.name };
}
