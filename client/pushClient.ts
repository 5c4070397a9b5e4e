import { checkSignal, needed, optional, optionsOf } from './argument.ts';
import { Emitter } from './emitter.ts';
import { MAX_PAST } from './limits.ts';
import { type Config, configOf, type PushOptions } from './options.ts';
import { PushError } from './pushError.ts';
import type { ClientState, PushEvents } from './pushEvents.ts';
import { Reconnector, type ReconnectorOwner } from './reconnector.ts';
import { isRoomName } from './roomName.ts';
import { type RoomOwner, RoomSubscription } from './roomSubscription.ts';
import type { JoinOptions, Room, Stream } from './stream.ts';
import { Subscription } from './subscription.ts';

/** What only a browser's page has: an address, and events of the network. */
const page = globalThis as {
  location?: { href?: string };
  addEventListener?(type: 'online', listener: () => void): void;
  removeEventListener?(type: 'online', listener: () => void): void;
};

/** A client of a PushCluster. It connects at once, and reconnects by itself until `close()`. */
export class PushClient {
  /** Items pushed to everyone. */
  readonly all: Stream;
  /** Items pushed to this user. Without a subprotocol they can't be told apart and come by `all`. */
  readonly user: Stream;
  readonly #all: Subscription;
  readonly #user: Subscription;
  readonly #rooms = new Map<string, RoomSubscription>();
  /** Rooms that were left. If one is joined again, it does not repeat what was delivered. */
  readonly #past = new Map<string, RoomSubscription>();
  readonly #emitter = new Emitter<PushEvents>();
  readonly #owner: ReconnectorOwner & RoomOwner = {
    streams: () => [this.#all, this.#user, ...this.#rooms.values()],
    streamOf: ({ data }) => {
      const { room, user } = data as { room?: string; user?: true };
      // LAGGED without a room speaks of items to all and to the user. It holds up both: streams switch together.
      return room !== undefined ? this.#rooms.get(room) : user ? this.#user : this.#all;
    },
    ended: (code, reason) => {
      const error = new PushError('closed', `The gateway closed with ${code}: ${reason}`);
      this.#end((stream) => stream.end(error));
    },
    leave: (room) => {
      if (!this.#forget(room)) return;
      room.quit();
      this.#reconnector.step();
      room.discard(leftError(room.name));
    },
    lost: (room, error) => {
      this.#forget(room);
      const { code, message: reason } = error;
      if (code === 'left') {
        room.end(undefined, new PushError('left', `Removed from the room ${room.name}: ${reason}`));
        this.#emitter.emit('left', { room: room.name, reason });
      } else {
        room.end(error);
        this.#emitter.emit('error', error);
      }
    },
    answered: () => this.#reconnector.step(),
    retryDelay: (failures) => this.#reconnector.retryDelay(failures),
  };
  readonly #reconnector: Reconnector;
  readonly #config: Config;
  readonly #online = () => this.#reconnector.online();
  readonly #abort = () => this.close();

  /**
   * @param url of the gateway's `/connect`: `ws:` or `wss:`, or a path in browsers
   * @throws TypeError, which names the argument, if `url` or an option is not valid
   */
  constructor(url: string | URL, options?: PushOptions | null) {
    const config = configOf(url, options, page.location?.href);
    const { queueLimit, signal } = config;
    this.#config = config;
    this.#all = this.all = new Subscription(undefined, this.#emitter, queueLimit);
    // A publisher counts the items of all users together: a missing counter is an item for another user.
    this.#user = this.user = new Subscription(undefined, this.#emitter, queueLimit, false);
    this.#reconnector = new Reconnector(config, this.#owner, this.#emitter);
    if (signal?.aborted) this.close();
    else {
      signal?.addEventListener('abort', this.#abort);
      this.#reconnector.connect();
      page.addEventListener?.('online', this.#online);
    }
  }

  get state(): ClientState {
    return this.#reconnector.state;
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof PushEvents>(name: Name, listener: (event: PushEvents[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
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
    if (this.state === 'closed') throw new PushError('closed', 'The client is closed.');
    const { signal, since, last } = optionsOf('options', options);
    checkSignal(signal);
    // The gateway checks the rest, and names what is wrong.
    optionsOf('since', since);
    optional('number', 'last', last);
    const past = this.#past.get(name);
    const joined = signal?.aborted ? undefined : this.#rooms.get(name);
    const room =
      joined ??
      new RoomSubscription<Item>(name, this.#owner, this.#emitter, this.#config.queueLimit, past, { since, last });
    if (signal?.aborted) room.discard(leftError(name));
    else if (!isRoomName(name)) {
      // A gateway would refuse the name too, but it closes the connection if the frame is too long.
      const error = new PushError('bad_room', 'A room name has 1 to 128 bytes of UTF-8.');
      room.end(error);
      queueMicrotask(() => this.#emitter.emit('error', error));
    } else {
      if (signal) room.leaveOn(signal);
      if (!joined) {
        this.#rooms.set(name, room as RoomSubscription);
        this.#reconnector.join(room as RoomSubscription);
      }
    }
    return room as Room as Room<Item>;
  }

  /** Closes the connection and ends all streams, for good and at once. The last event is `state`. */
  close(): void {
    this.#reconnector.close();
    this.#end((stream) => stream.discard(new PushError('closed', 'The client is closed.')));
  }

  /** @returns whether the room was still joined */
  #forget(room: RoomSubscription): boolean {
    const { name } = room;
    if (this.#rooms.get(name) !== room) return false;
    this.#past.delete(name);
    this.#past.set(name, room);
    if (this.#past.size > MAX_PAST) this.#past.delete(this.#past.keys().next().value!);
    return this.#rooms.delete(name);
  }

  /** Removes all listeners: the page's, and the client's on the page's objects, so that those don't keep it in memory. */
  #end(endStream: (stream: Subscription) => void) {
    this.#emitter.end();
    this.#config.signal?.removeEventListener('abort', this.#abort);
    page.removeEventListener?.('online', this.#online);
    for (const stream of this.#owner.streams()) endStream(stream);
    this.#rooms.clear();
  }
}

function leftError(name: string): PushError {
  return new PushError('left', `The room ${name} was left.`);
}
