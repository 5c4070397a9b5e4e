import { CloseCode, type Comeback, comebackAfter } from '@pushcluster/protocol/closeCodes.ts';
import { type Backoff, retryDelay } from './backoff.ts';
import { Connection, type ConnectionConfig, type ConnectionOwner, type News } from './connection.ts';
import type { Emitter } from './emitter.ts';
import { NEVER } from './handover.ts';
import {
  CONNECT_BURST,
  CONNECTS_PER_SECOND,
  KEPT_HELD,
  MAX_HELD,
  MAX_SLOWDOWNS,
  MOVE_JITTER,
  MOVE_PATIENCE,
  OVERLAP,
} from './limits.ts';
import type { ClientState, PushEvents } from './pushEvents.ts';
import type { RoomSubscription } from './roomSubscription.ts';
import type { StreamFrame, Subscription } from './subscription.ts';
import { TokenBucket } from './tokenBucket.ts';

export type ReconnectorConfig = ConnectionConfig & { backoff: Backoff; random: () => number };

export interface ReconnectorOwner {
  streams(): Subscription[];
  /** The stream that a frame is for; undefined: a room that was left. */
  streamOf(frame: StreamFrame): Subscription | undefined;
  /** The gateway closed the connection for good. */
  ended(code: number, reason: string): void;
}

/** Keeps the client connected: reconnects by close code, and opens a second connection before it closes one that ends soon. */
export class Reconnector implements ConnectionOwner {
  readonly #config: ReconnectorConfig;
  readonly #owner: ReconnectorOwner;
  readonly #events: Emitter<PushEvents>;
  #state: ClientState = 'connecting';
  #current: Connection | undefined;
  /** The connection to move to. */
  #next: Connection | undefined;
  #isMoving = false;
  #moveFailures = 0;
  #moveTimers: (() => void)[] = [];
  #heldItems = 0;
  #retry: (() => void) | undefined;
  #retryAt = 0;
  readonly #connects = new TokenBucket(CONNECT_BURST, CONNECTS_PER_SECOND);
  #failures = 0;
  /** How often it was closed for sending too fast. */
  #slowdowns = 0;
  /** Resolves when connections that have ended have brought all that they received. */
  #settled: Promise<unknown> = Promise.resolve();

  constructor(config: ReconnectorConfig, owner: ReconnectorOwner, events: Emitter<PushEvents>) {
    this.#config = config;
    this.#owner = owner;
    this.#events = events;
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

  join(room: RoomSubscription): void {
    for (const connection of [this.#current, this.#next]) {
      if (!connection) continue;
      room.handover.add(connection);
      if (connection.openedAt !== undefined) room.opened(connection);
    }
  }

  /** The network is back, or another one: reconnects soon, or checks that the connection still works. */
  online(): void {
    if (this.#state !== 'waiting') this.#current?.probe();
    else {
      const ms = this.#pause(0, 0);
      // Where a network comes and goes this is called often: it must not postpone the attempt that is due.
      if (this.#now() + ms < this.#retryAt) this.#retryIn(ms);
    }
  }

  close(): void {
    this.#end();
    void this.#current?.close();
    this.#become('closed');
  }

  retryDelay(failures: number, code = 0): number {
    return retryDelay(failures, code, this.#config.backoff, this.#config.random());
  }

  opened(connection: Connection): void {
    if (this.#isOver()) return;
    for (const stream of this.#owner.streams()) stream.opened(connection);
    if (connection === this.#current) {
      this.#become('open');
      this.#events.emit('open', undefined);
    } else this.step();
  }

  received(connection: Connection, frame: News): void {
    if (this.#isOver()) return;
    if (frame.type === 'RECONNECT') {
      const { withinMs, overlapMs } = frame.data;
      const overlap = overlapMs! >= 0 ? overlapMs! : withinMs * OVERLAP;
      connection.deadline = { leaveBy: this.#now() + withinMs, overlap };
      if (connection === this.#current) {
        // A room that can't be joined elsewhere must not keep the client on two gateways for good.
        this.#afterInMove(withinMs + MOVE_PATIENCE, () => this.#nextClosed(0));
        this.#startMove();
      }
    } else this.#hold(connection, this.#owner.streamOf(frame)?.receive(connection, frame) ?? 0);
  }

  closed(connection: Connection, code: number, reason: string): void {
    // What it received may be inflated for longer than the client stays open.
    if (this.#isOver()) return;
    if (connection === this.#next) this.#nextClosed(code);
    else if (connection === this.#current) this.#currentClosed(connection, code, reason);
  }

  /** Looks how far a move is, and ends it when no stream needs the old connection any more. */
  step(): void {
    if (this.#next?.openedAt === undefined) return;
    const { leaveBy, overlap } = this.#current!.deadline!;
    const wait = Math.max(leaveBy - overlap, this.#switchAt(overlap)) - this.#now();
    if (wait <= 0) this.#promote();
    else if (wait < NEVER) this.#afterInMove(wait, () => this.step());
  }

  /** So many more items of `connection` are held. Beyond the limit repeats go, then the oldest: streams tell these as a gap. */
  #hold(connection: Connection, items: number) {
    this.#heldItems += items;
    if (this.#heldItems <= MAX_HELD) return;
    const streams = this.#owner.streams();
    this.#heldItems = streams.reduce((sum, stream) => sum + stream.dropRepeats(connection), 0);
    // The frame that came last stays, however many items it has.
    while (this.#heldItems > Math.max(KEPT_HELD, items)) {
      streams.sort((a, b) => a.handover.heldSince(connection) - b.handover.heldSince(connection));
      this.#heldItems -= streams[0]!.handover.dropOldest(connection);
    }
  }

  #currentClosed(connection: Connection, code: number, reason: string) {
    if (connection.openedAt !== undefined && this.#now() - connection.openedAt >= this.#config.backoff.stable)
      this.#failures = 0;
    const comeback = this.#comeback(code);
    // If a user may have one session only, the new connection replaces the old one with 4004: it is there.
    if (this.#next && (comeback !== 'stop' || code === CloseCode.replaced)) return this.#promote(code, reason);
    this.#end();
    this.#retire(connection);
    this.#current = undefined;
    if (comeback === 'stop' || (comeback === 'refresh' && typeof this.#config.token !== 'function')) {
      this.#become('closed');
      this.#events.emit('close', { code, reason, willRetry: false });
      return this.#owner.ended(code, reason);
    }
    const retryIn = this.#pause(this.#failures++, code);
    this.#retryIn(retryIn);
    this.#become('waiting');
    this.#events.emit('close', { code, reason, willRetry: true, retryIn });
  }

  #connection() {
    this.#connects.take(this.#now());
    const connection = new Connection(this.#config, this, this.#events, 2 ** -this.#slowdowns);
    for (const { handover } of this.#owner.streams()) handover.add(connection);
    return connection;
  }

  /** What to do after `code`. After 1008 (too fast) the client sends at half the rate. */
  #comeback(code: number): Comeback {
    const comeback = comebackAfter(code);
    return comeback === 'slower' && ++this.#slowdowns > MAX_SLOWDOWNS ? 'stop' : comeback;
  }

  #startMove() {
    if (this.#isMoving) return this.step();
    this.#isMoving = true;
    this.#moveFailures = this.#heldItems = 0;
    this.#become('moving');
    if (this.#isOver()) return;
    const wait = Math.max(this.#config.random() * MOVE_JITTER, this.#connects.wait(this.#now()));
    this.#afterInMove(wait, () => this.#openNext());
  }

  #openNext() {
    this.#next = this.#connection();
    this.#next.start();
  }

  #nextClosed(code: number) {
    this.#dropNext();
    const delay = this.#pause(this.#moveFailures++, code);
    const { leaveBy } = this.#current!.deadline!;
    const pointless = this.#comeback(code) === 'stop' || this.#now() + delay >= leaveBy;
    if (!pointless) return this.#afterInMove(delay, () => this.#openNext());
    // The old connection serves until its gateway ends it. Then the client reconnects as usual.
    this.#endMove();
    this.#become('open');
  }

  /** When every stream can do without the old connection; Infinity: not known yet. */
  #switchAt(overlap: number): number {
    return Math.max(...this.#owner.streams().map(({ handover }) => handover.readyAt(this.#next!))) + overlap;
  }

  /** The next connection takes over. `code` and `reason` are those of the old one if it has ended by itself, perhaps too early. */
  #promote(code?: number, reason?: string) {
    const old = this.#current!;
    const next = this.#next!;
    const isWhole = code === undefined || this.#now() >= this.#switchAt(old.deadline!.overlap);
    this.#endMove();
    this.#current = next;
    this.#next = undefined;
    // What the new one missed in a whole move the old one has delivered: no loss is told.
    if (isWhole) for (const { handover } of this.#owner.streams()) handover.keep(next, ({ type }) => type === 'PUSH');
    this.#retire(old);
    if (!isWhole) {
      this.#become('connecting');
      this.#events.emit('close', { code: code!, reason: reason!, willRetry: true });
    }
    if (this.#isOver() || next.openedAt === undefined) return;
    this.#become('open');
    this.#events.emit(isWhole ? 'moved' : 'open', undefined);
    if (next.deadline && !this.#isOver()) this.#startMove();
  }

  /** Ends `connection`. What it received goes first, even if it is still being inflated. */
  #retire(connection: Connection) {
    this.#settled = Promise.all([this.#settled, connection.close()]).then(() => {
      for (const { handover } of this.#owner.streams()) handover.remove(connection);
    });
  }

  /** Milliseconds until an attempt after so many failures. */
  #pause(failures: number, code: number): number {
    return Math.max(this.retryDelay(failures, code), this.#connects.wait(this.#now()));
  }

  #retryIn(ms: number) {
    this.#retry?.();
    this.#retryAt = this.#now() + ms;
    this.#retry = this.#config.clock.after(ms, () => this.connect());
  }

  #afterInMove(ms: number, run: () => void) {
    this.#moveTimers.push(this.#config.clock.after(ms, run));
  }

  #endMove() {
    this.#isMoving = false;
    for (const cancel of this.#moveTimers.splice(0)) cancel();
  }

  #dropNext() {
    const next = this.#next;
    this.#next = undefined;
    if (!next) return;
    void next.close();
    for (const { handover } of this.#owner.streams()) handover.remove(next);
  }

  /** Ends all but the current connection. */
  #end() {
    this.#endMove();
    this.#retry?.();
    this.#dropNext();
  }

  #become(state: ClientState) {
    if (this.#state === state) return;
    this.#state = state;
    this.#events.emit('state', state);
  }

  /** A listener may close the client at each event. */
  #isOver() {
    return this.#state === 'closed';
  }

  #now() {
    return this.#config.clock.now();
  }
}
