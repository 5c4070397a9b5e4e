import type { Position } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import { HistorySubscription, settled } from './history.ts';
import { PushError } from './pushError.ts';
import type { JoinOptions, Room } from './stream.ts';
import type { StreamConfig, StreamFrame } from './subscription.ts';

/** What a room tells the client that it belongs to. */
export interface RoomOwner {
  /** The page left it; or, with an error, a gateway refused the JOIN or (`left`) the API took the client out of it, on `gone`. */
  remove(room: RoomSubscription, error?: PushError, gone?: Connection): void;
}

/** A room: joined on each connection that opens, until it is left. */
export class RoomSubscription extends HistorySubscription implements Room {
  declare readonly name: string;
  readonly leave: () => void;
  readonly #owner: RoomOwner;
  readonly #joined: Promise<void>;
  #isAwaited: boolean | undefined;
  #admit!: () => void;
  #refuse!: (error: PushError) => void;
  readonly #signals = new Set<AbortSignal>();

  constructor(
    name: string,
    config: StreamConfig,
    owner: RoomOwner,
    former: RoomSubscription | undefined,
    options: JoinOptions,
  ) {
    super(name, config, former, options);
    this.#owner = owner;
    this.leave = () => owner.remove(this);
    // Refusals are told by an event too: nobody has to look at the promise.
    this.#joined = settled(
      new Promise((resolve, reject) => {
        this.#admit = resolve;
        this.#refuse = reject;
      }),
    );
  }

  /** Who reads it waits for it, most likely. */
  get joined(): Promise<void> {
    this.#isAwaited = true;
    return this.#joined;
  }

  override admit(connection: Connection): void {
    this.#admit();
    if (this.#isAwaited) connection.pause();
    const { source } = this;
    // The connection that brought what follows is gone, and another one is left that is in the room.
    if (source && !connection.owner.line.includes(source)) this.rejoin(connection);
  }

  override opened(connection: Connection): void {
    this.#join(connection);
  }

  override receive(connection: Connection, frame: StreamFrame): boolean {
    if (connection.leaving.has(this.name)) return false;
    if (frame.type === 'PUSH' || frame.type === 'RESET') {
      if (!frame.data.epoch) {
        if (connection.serves) this.restart(undefined, undefined, 'reset');
      } else if (this.follow(connection, frame.data)) return false;
    }
    if (frame.type !== 'LEAVE') return super.receive(connection, frame);
    const { code, reason } = frame.data;
    const error = new PushError(code || 'left', reason);
    if (!code) this.#owner.remove(this, error, connection);
    else {
      this.rejoin(connection);
      this.config.events.emit('error', error);
    }
    return false;
  }

  /** Leaves when `signal` aborts. The listener is removed if the room ends before. */
  leaveOn(signal: AbortSignal): void {
    signal.addEventListener('abort', this.leave);
    this.#signals.add(signal);
  }

  override finish(why: PushError, isAtOnce = false): void {
    super.finish(why, isAtOnce);
    this.save();
    this.#refuse(why);
    for (const signal of this.#signals) signal.removeEventListener('abort', this.leave);
    this.#signals.clear();
  }

  /** Joins again, unless a JOIN has no answer yet: one is enough. */
  override rejoin(connection: Connection, failures = 0): void {
    if (!connection.ready.has(this)) return;
    this.tries++;
    this.pause();
    this.#join(connection, failures);
  }

  #join(connection: Connection, failures = 0) {
    connection.ready.delete(this);
    if (failures > 0)
      connection.later(connection.owner.retryDelay(failures - 1), () => this.#send(connection, failures));
    else this.#send(connection, failures);
  }

  #send(connection: Connection, failures: number) {
    if (this.ended) return;
    let since: Position | undefined;
    const toJSON = () => {
      const from = this.request(connection);
      since = from.since;
      return { room: this.name, ...from };
    };
    connection.request('JOIN', { toJSON }, (error, data) => {
      // The room was left, and perhaps joined anew: that JOIN has its own answer.
      if (this.ended) return;
      if (error?.code === 'unavailable') return this.#join(connection, failures + 1);
      // Said of a connection that has no token, whatever the room: the next connection may have one.
      if (error?.code === 'unauthorized') return this.config.events.emit('error', error);
      // No other connection is in the room then, and a move no longer waits for a JOIN of it.
      if (error) return this.#owner.remove(this, error, connection);
      if (this.answered(connection, data, since)) return this.#join(connection, failures + 1);
      super.opened(connection);
      connection.owner.step();
    });
  }
}
