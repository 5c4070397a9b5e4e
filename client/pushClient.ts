import { checkSignal, needed, optional, optionsOf, wrong } from './argument.ts';
import { MAX_PAST } from './limits.ts';
import { type Config, configOf, type PushOptions } from './options.ts';
import { PushError } from './pushError.ts';
import type { ClientState, PushEvents } from './pushEvents.ts';
import { Reconnector, type ReconnectorOwner } from './reconnector.ts';
import { isRoomName } from './roomName.ts';
import { type RoomOwner, RoomSubscription } from './roomSubscription.ts';
import { isPosition } from './serverFrame.ts';
import type { JoinOptions, Room, Stream } from './stream.ts';
import { Subscription } from './subscription.ts';

/** What only a browser's page has: an address, and events of the network. */
const page = globalThis as {
  location?: { href?: string };
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
};

/** A client of a PushCluster. It connects at once, and reconnects by itself until `close()`. */
export class PushClient {
  /** Items pushed to everyone. */
  readonly all: Stream;
  /** Items pushed to this user. Without a subprotocol they can't be told apart and come by `all`. */
  readonly user: Stream;
  readonly #rooms = new Map<string, RoomSubscription>();
  /** Rooms that were left. If one is joined again, it does not repeat what was delivered. */
  readonly #past = new Map<string, RoomSubscription>();
  readonly #owner: ReconnectorOwner & RoomOwner = {
    streams: () => [this.all as Subscription, this.user as Subscription, ...this.#rooms.values()],
    streamOf: ({ data }) => {
      const { room, user } = data as { room?: string; user?: true };
      // LAGGED without a room speaks of items to all and to the user. It holds up both: streams switch together.
      return room !== undefined ? this.#rooms.get(room) : ((user ? this.user : this.all) as Subscription);
    },
    ended: (code, reason) => {
      const error = new PushError('closed', `${code}: ${reason}`);
      this.#end(error);
    },
    remove: (room, error, gone) => {
      const { name } = room;
      if (this.#rooms.get(name) !== room) return;
      this.#rooms.delete(name);
      this.#past.delete(name);
      this.#past.set(name, room);
      if (this.#past.size > MAX_PAST) this.#past.delete(this.#past.keys().next().value!);
      // Where it is gone the gateway has ended the membership.
      for (const connection of this.#reconnector.line)
        if (connection !== gone && connection.isOpen) connection.quit(name);
      const { events } = this.#config;
      if (!error) room.finish(leftError(), true);
      else {
        room.finish(error);
        if (error.code === 'left') events.emit('left', { room: name, reason: error.message });
        else events.emit('error', error);
      }
      this.#reconnector.step();
    },
  };
  readonly #reconnector: Reconnector;
  readonly #config: Config;
  /** The network is back, or the page goes, perhaps for good. */
  readonly #onPage = () => {
    this.#reconnector.online();
    for (const room of this.#rooms.values()) room.save();
  };
  readonly #abort = () => this.close();

  /**
   * @param url of the gateway's `/connect`: `ws:` or `wss:`, or a path in browsers
   * @throws TypeError, which names the argument, if `url` or an option is not valid
   */
  constructor(url: string | URL, options?: PushOptions | null) {
    const config = configOf(url, options, page.location?.href);
    const { signal } = config;
    this.#config = config;
    this.all = new Subscription(undefined, config);
    // A publisher counts the items of all users together: a missing counter is an item for another user.
    this.user = new Subscription(undefined, config, false);
    this.#reconnector = new Reconnector(config, this.#owner);
    if (signal?.aborted) this.close();
    else {
      signal?.addEventListener('abort', this.#abort);
      this.#reconnector.connect();
      page.addEventListener?.('online', this.#onPage);
      page.addEventListener?.('pagehide', this.#onPage);
    }
  }

  get state(): ClientState {
    return this.#reconnector.state;
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof PushEvents>(name: Name, listener: (event: PushEvents[Name]) => void): () => void {
    return this.#config.events.on(name, listener);
  }

  /**
   * Joins a room, and joins it again after every reconnect, until it is left. If the room is joined already, the same Room
   * is returned: `leave()` and each `signal` with which it was joined end it for everyone. If `signal` has aborted,
   * nothing is joined. `Item` is the type that your backend pushes: it is not checked.
   *
   * @throws PushError `closed` if the client is closed; TypeError, which names the argument, if one is of a wrong shape
   */
  join<Item = unknown>(name: string, options?: JoinOptions | null): Room<Item> {
    needed('string', 'name', name);
    if (this.state === 'closed') throw closedError();
    const given = optionsOf('options', options);
    const { signal, since, last, storage } = given;
    checkSignal(signal);
    if (since != null && !isPosition(since)) throw wrong('since', 'a position', since);
    optional('number', 'last', last);
    optionsOf('storage', storage);
    const joined = signal?.aborted ? undefined : this.#rooms.get(name);
    const room = joined ?? new RoomSubscription(name, this.#config, this.#owner, this.#past.get(name), given);
    if (signal?.aborted) room.finish(leftError(), true);
    else if (!isRoomName(name)) {
      // A gateway would refuse the name too, but it closes the connection if the frame is too long.
      const error = new PushError('bad_room', 'Bad name.');
      room.finish(error);
      queueMicrotask(() => this.#config.events.emit('error', error));
    } else {
      if (signal) room.leaveOn(signal);
      if (!joined) {
        this.#rooms.set(name, room);
        this.#reconnector.join(room);
      }
    }
    return room as Room<Item>;
  }

  /** Closes the connection and ends all streams, for good and at once. The last event is `state`. */
  close(): void {
    this.#reconnector.close();
    this.#end(closedError(), true);
  }

  /** Removes all listeners: the page's, and the client's on the page's objects, so that those don't keep it in memory. */
  #end(why: PushError, isAtOnce?: boolean) {
    this.#config.events.end();
    this.#config.signal?.removeEventListener('abort', this.#abort);
    page.removeEventListener?.('online', this.#onPage);
    page.removeEventListener?.('pagehide', this.#onPage);
    for (const stream of this.#owner.streams()) stream.finish(why, isAtOnce);
    this.#rooms.clear();
  }
}

function closedError(): PushError {
  return new PushError('closed', 'Closed.');
}

function leftError(): PushError {
  return new PushError('left', 'Left.');
}
