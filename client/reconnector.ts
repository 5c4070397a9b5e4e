import { CloseCode, type Comeback, comebackAfter } from '@pushcluster/protocol/closeCodes.ts';
import { type Backoff, retryDelay } from './backoff.ts';
import { Connection, type ConnectionConfig, type ConnectionOwner, type Delivery, type News } from './connection.ts';
import {
  CONNECT_BURST,
  CONNECTS_PER_SECOND,
  MAX_HELD,
  MAX_SLOWDOWNS,
  MOVE_JITTER,
  MOVE_PATIENCE,
  OVERLAP,
} from './limits.ts';
import type { ClientState } from './pushEvents.ts';
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
  line: Connection[] = [];
  readonly #config: ReconnectorConfig;
  readonly #owner: ReconnectorOwner;
  state: ClientState = 'connecting';
  #current: Connection | undefined;
  /** The connection to move to. */
  #next: Connection | undefined;
  #moveFailures = 0;
  #heldItems = 0;
  /** Cancel what is to be done in this state: the next attempt, or the steps of a move. */
  #timers: (() => void)[] = [];
  #retryAt = 0;
  readonly #connects = new TokenBucket(CONNECT_BURST, CONNECTS_PER_SECOND);
  #failures = 0;
  /** How often it was closed for sending too fast. */
  #slowdowns = 0;
  /** Resolves when connections that have ended have brought all that they received. */
  #settled: Promise<unknown> = Promise.resolve();

  constructor(config: ReconnectorConfig, owner: ReconnectorOwner) {
    this.#config = config;
    this.#owner = owner;
  }

  connect(): void {
    this.#cancel();
    this.#current = this.#connection();
    // A listener may close the client at each event: then there is no current connection.
    this.#become('connecting');
    this.#current?.start();
  }

  join(room: RoomSubscription): void {
    for (const connection of this.line) if (connection.isOpen) room.opened(connection);
  }

  /** The network is back, or another one: reconnects soon, or checks that the connection still works. */
  online(): void {
    if (this.state !== 'waiting') this.#current?.probe();
    else {
      const ms = this.#pause(0, 0);
      // Where a network comes and goes this is called often: it must not postpone the attempt that is due.
      if (this.#now() + ms < this.#retryAt) this.#retryIn(ms);
    }
  }

  close(): void {
    this.#end();
    void this.#current?.close();
    this.#current = undefined;
    this.line = [];
    this.#become('closed');
  }

  retryDelay(failures: number, code = 0): number {
    return retryDelay(failures, code, this.#config.backoff, this.#config.random());
  }

  opened(connection: Connection): void {
    for (const stream of this.#owner.streams()) stream.opened(connection);
    if (connection === this.#current) {
      if (this.state !== 'moving') this.#become('open');
      this.#config.events.emit('open', undefined);
    } else this.step();
  }

  received(connection: Connection, frame: News): void {
    if (frame.type === 'RECONNECT') {
      const { withinMs, overlapMs } = frame.data;
      connection.leaveBy = this.#now() + withinMs;
      connection.overlap = overlapMs! >= 0 ? overlapMs! : withinMs * OVERLAP;
      if (connection === this.#current) {
        // A room that can't be joined elsewhere must not keep the client on two gateways for good.
        this.#later(withinMs + MOVE_PATIENCE, () => this.#nextClosed(0));
        this.#startMove();
      }
      return;
    }
    const stream = this.#owner.streamOf(frame);
    if (!stream?.receive(connection, frame)) return;
    const delivery = frame as Delivery;
    const at = this.#now();
    if (connection.serves) stream.deliver(delivery, at);
    else this.#hold(connection, stream, delivery, at);
  }

  closed(connection: Connection, code: number, reason: string): void {
    if (connection === this.#next) this.#nextClosed(code);
    else if (connection === this.#current) this.#currentClosed(connection, code, reason);
  }

  /** Looks how far a move is, and ends it when no stream needs the old connection any more. */
  step(): void {
    if (!this.#next?.isOpen) return;
    const { leaveBy, overlap } = this.#current!;
    const wait = Math.max(leaveBy! - overlap, this.#switchAt(overlap)) - this.#now();
    if (wait <= 0) this.#promote();
    else if (wait < Infinity) this.#later(wait, () => this.step());
  }

  /**
   * Holds a frame until `connection` serves. Beyond the limit the oldest go: the connection that serves has most likely
   * brought them meanwhile. If it has not, streams tell them as a gap.
   */
  #hold(connection: Connection, stream: Subscription, frame: Delivery, at: number) {
    const { held, ready } = connection;
    held.push([stream, frame, at]);
    // The connections before it bring what it missed, in their time. What a room's policy dropped they drop too.
    if (frame.type === 'LAGGED' && frame.data.reason !== 'overload' && ready.has(stream)) ready.set(stream, at);
    this.#heldItems += itemsOf(frame);
    // The frame that came last stays, however many items it has.
    while (this.#heldItems > MAX_HELD && held.length > 1) this.#heldItems -= itemsOf(held.shift()![1]);
  }

  #currentClosed(connection: Connection, code: number, reason: string) {
    if (this.#now() - connection.openedAt! >= this.#config.backoff.stable) this.#failures = 0;
    const comeback = this.#comeback(code);
    // If a user may have one session only, the new connection replaces the old one with 4004: it is there.
    if (this.#next && (comeback !== 'stop' || code === CloseCode.replaced)) return this.#promote(code, reason);
    this.#end();
    this.#retire(connection);
    this.#current = undefined;
    if (comeback === 'stop' || (comeback === 'refresh' && typeof this.#config.token !== 'function')) {
      this.#become('closed');
      this.#config.events.emit('close', { code, reason, willRetry: false });
      return this.#owner.ended(code, reason);
    }
    const retryIn = this.#pause(this.#failures++, code);
    this.#retryIn(retryIn);
    this.#become('waiting');
    this.#config.events.emit('close', { code, reason, willRetry: true, retryIn });
  }

  #connection() {
    this.#connects.take(this.#now());
    this.#heldItems = 0;
    const connection = new Connection(this.#config, this, 2 ** -this.#slowdowns);
    this.line.push(connection);
    return connection;
  }

  /** What to do after `code`. After 1008 (too fast) the client sends at half the rate. */
  #comeback(code: number): Comeback {
    const comeback = comebackAfter(code);
    return comeback === 'slower' && ++this.#slowdowns > MAX_SLOWDOWNS ? 'stop' : comeback;
  }

  #startMove() {
    if (this.state === 'moving') return this.step();
    this.#moveFailures = 0;
    const wait = Math.max(this.#config.random() * MOVE_JITTER, this.#connects.wait(this.#now()));
    this.#later(wait, () => this.#openNext());
    this.#become('moving');
  }

  #openNext() {
    this.#next = this.#connection();
    this.#next.start();
  }

  #nextClosed(code: number) {
    this.#dropNext();
    const delay = this.#pause(this.#moveFailures++, code);
    const pointless = this.#comeback(code) === 'stop' || this.#now() + delay >= this.#current!.leaveBy!;
    if (!pointless) return this.#later(delay, () => this.#openNext());
    // The old connection serves until its gateway ends it. Then the client reconnects as usual.
    this.#cancel();
    this.#become('open');
  }

  /** When every stream can do without the old connection; Infinity: not known yet. */
  #switchAt(overlap: number): number {
    const { ready } = this.#next!;
    return Math.max(...this.#owner.streams().map((stream) => ready.get(stream) ?? Infinity)) + overlap;
  }

  /** The next connection takes over. `code` and `reason` are those of the old one if it has ended by itself, perhaps too early. */
  #promote(code?: number, reason?: string) {
    const old = this.#current!;
    const next = this.#next!;
    const isWhole = code === undefined || this.#now() >= this.#switchAt(old.overlap);
    this.#cancel();
    this.#current = next;
    this.#next = undefined;
    // What the new one missed in a whole move the old one has delivered: no loss is told.
    if (isWhole) next.held = next.held.filter(([, { type }]) => type === 'PUSH');
    this.#retire(old);
    if (!isWhole) {
      this.#become('connecting');
      this.#config.events.emit('close', { code: code!, reason: reason!, willRetry: true });
    }
    if (!this.#current?.isOpen) return;
    this.#become('open');
    this.#config.events.emit(isWhole ? 'moved' : 'open', undefined);
    if (this.#current?.leaveBy) this.#startMove();
  }

  /** Ends `connection`. What it received goes first, even if it is still being inflated. */
  #retire(connection: Connection) {
    this.#settled = Promise.all([this.#settled, connection.close()]).then(() => this.#remove(connection));
  }

  /** `connection` brings nothing more. If it served, the next one does, and what that brought is delivered. */
  #remove(connection: Connection) {
    this.line = this.line.filter((other) => other !== connection);
    const [serving] = this.line;
    if (!serving) return;
    for (const [stream, frame, at] of serving.held.splice(0)) stream.deliver(frame, at);
    for (const stream of this.#owner.streams()) if (serving.ready.has(stream)) stream.admit(serving);
  }

  /** Milliseconds until an attempt after so many failures. */
  #pause(failures: number, code: number): number {
    return Math.max(this.retryDelay(failures, code), this.#connects.wait(this.#now()));
  }

  #retryIn(ms: number) {
    this.#cancel();
    this.#retryAt = this.#now() + ms;
    this.#later(ms, () => this.connect());
  }

  #later(ms: number, run: () => void) {
    this.#timers.push(this.#config.clock.after(ms, run));
  }

  #cancel() {
    for (const cancel of this.#timers.splice(0)) cancel();
  }

  #dropNext() {
    const next = this.#next;
    this.#next = undefined;
    if (next) this.#retire(next);
  }

  /** Ends all but the current connection. */
  #end() {
    this.#cancel();
    this.#dropNext();
  }

  #become(state: ClientState) {
    if (this.state === state) return;
    this.state = state;
    this.#config.events.emit('state', state);
  }

  #now() {
    return this.#config.clock.now();
  }
}

function itemsOf(frame: Delivery): number {
  return (frame.type === 'PUSH' && frame.data.items.length) || 1;
}
