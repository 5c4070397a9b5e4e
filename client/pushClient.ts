import { nameProblem } from '@pushcluster/protocol/names.ts';
import { needed, onAbort } from './argument.ts';
import type { Delivery, WireFrame } from './connection.ts';
import { Emitter } from './emitter.ts';
import { configOf, type PushOptions } from './options.ts';
import { PushError } from './pushError.ts';
import { type ClientState, type Closed, Reconnector, type ReconnectorOwner } from './reconnector.ts';
import { Feed, type Gap, type Lagged, type Room, RoomFeed, type Stream } from './stream.ts';

export type Left = { room: string; reason: string };

export type PushEvents = {
  state: ClientState;
  /** Connected; again after each reconnect. */
  open: undefined;
  /** The connection was lost or ended. Not emitted by close(), nor where another has already taken over. */
  close: Closed;
  /** Another gateway took over, with nothing lost and nothing twice. */
  moved: undefined;
  lagged: Lagged;
  gap: Gap;
  /** The API took us out of a room. */
  left: Left;
  /** A refused room, a token callback that failed, a broken frame. The client goes on. */
  error: PushError;
  frame: WireFrame;
};

/** What a browser's page has: other platforms lack an address, or tell nothing of the network. */
const page = globalThis as {
  location?: { href?: string };
  addEventListener?(type: 'online', listener: () => void): void;
  removeEventListener?(type: 'online', listener: () => void): void;
};

/** Rooms that were left of which is known what came. */
const MAX_PAST = 100;

/** A lasting connection to a PushCluster: it connects at once, and comes back by itself until `close()`. */
export class PushClient {
  /** Items pushed to everyone. */
  readonly all: Stream;
  /** Items pushed to this user. (Without a subprotocol these can't be told apart, and come by `all`.) */
  readonly user: Stream;
  readonly #all: Feed;
  readonly #user: Feed;
  readonly #rooms = new Map<string, RoomFeed>();
  /** Rooms that were left: what came by them comes no more when they are joined anew. */
  readonly #past = new Map<string, RoomFeed>();
  readonly #emitter = new Emitter<PushEvents>();
  readonly #owner: ReconnectorOwner & { lagged(event: Lagged): void; gap(event: Gap): void };
  readonly #reconnector: Reconnector;
  readonly #queueLimit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #online = () => this.#reconnector.online();
  readonly #abort = () => this.close();

  /**
   * @param url of the gateway's `/connect`: `ws:`, `wss:`, or in browsers a path
   * @throws TypeError where `url` or an option can't be used, Error where the platform has no WebSocket
   */
  constructor(url: string | URL, options?: PushOptions | null) {
    const { reconnector, queueLimit, signal } = configOf(url, options, page.location?.href);
    this.#queueLimit = queueLimit;
    this.#signal = signal;
    this.#owner = this.#reconnectorOwner();
    this.#all = this.all = new Feed(undefined, this.#owner, queueLimit);
    // A publisher counts the items of all users together: what is missing there was for others.
    this.#user = this.user = new Feed(undefined, this.#owner, queueLimit, false);
    this.#reconnector = new Reconnector(reconnector, this.#owner);
    if (signal?.aborted) this.close();
    else {
      if (signal !== undefined) onAbort(signal, this.#abort);
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
   * Joins a room, now and after every reconnect, until it is left. A room that is joined already is returned as it is:
   * `leave()` and the `signal` of each who joined it end it for all. With a signal that has aborted nothing is joined.
   * `Item` is what you expect of your backend: it is not checked.
   *
   * @throws PushError `closed` where the client is closed, TypeError where `name` is no string or `signal` no AbortSignal
   */
  join<Item = unknown>(name: string, options?: { signal?: AbortSignal | null | undefined } | null): Room<Item> {
    needed('string', 'The name of a room', name);
    if (this.state === 'closed') throw new PushError('closed', 'The client is closed: make a new one to join a room.');
    return this.#join(name, options?.signal) as Room as Room<Item>;
  }

  /** Ends the connection and all streams, for good and at once: its last event is `state`. */
  close(): void {
    this.#reconnector.close();
    this.#release();
    for (const room of this.#rooms.values()) room.discard(new PushError('closed', 'The client was closed.'));
    this.#rooms.clear();
    this.#all.discard();
    this.#user.discard();
  }

  #join(name: string, signal: AbortSignal | null | undefined): RoomFeed {
    const joined = signal?.aborted ? undefined : this.#rooms.get(name);
    const room =
      joined ?? new RoomFeed(name, this.#owner, this.#queueLimit, (left) => this.#leave(left), this.#past.get(name));
    const problem = nameProblem(name);
    if (signal?.aborted) room.discard(leftError(name));
    else if (problem) {
      // As a gateway would: but a frame that is too long would be the end of the connection.
      const error = new PushError('bad_room', `The name of a room ${problem}.`);
      room.end(error);
      queueMicrotask(() => this.#emitter.emit('error', error));
    } else {
      if (signal != null) room.leaveOn(signal);
      if (room === joined) return room;
      this.#rooms.set(name, room);
      this.#reconnector.join(room);
    }
    return room;
  }

  #leave(room: RoomFeed) {
    if (!this.#forget(room)) return;
    this.#reconnector.leave(room.name);
    room.discard(leftError(room.name));
  }

  /** Whether the room was still there. */
  #forget(room: RoomFeed): boolean {
    const { name } = room;
    if (this.#rooms.get(name) !== room) return false;
    this.#past.delete(name);
    this.#past.set(name, room);
    if (this.#past.size > MAX_PAST) this.#past.delete(this.#past.keys().next().value!);
    return this.#rooms.delete(name);
  }

  /** The gateway ended it for good. */
  #end(error: PushError) {
    this.#release();
    for (const room of this.#rooms.values()) room.end(error);
    this.#rooms.clear();
    this.#all.end(error);
    this.#user.end(error);
  }

  /** Lets go of the page: it is told nothing any more, and what it holds does not hold us. */
  #release() {
    this.#emitter.end();
    this.#signal?.removeEventListener('abort', this.#abort);
    page.removeEventListener?.('online', this.#online);
  }

  #feed({ data }: Delivery): Feed | undefined {
    const { room, user } = data as { room?: string; user?: true };
    return room !== undefined ? this.#rooms.get(room) : user ? this.#user : this.#all;
  }

  #reconnectorOwner() {
    const emit: Emitter<PushEvents>['emit'] = (name, event) => this.#emitter.emit(name, event);
    return {
      rooms: this.#rooms,
      state: (state: ClientState) => emit('state', state),
      opened: () => emit('open', undefined),
      moved: () => emit('moved', undefined),
      closed: (event: Closed) => {
        emit('close', event);
        if (!event.willRetry)
          this.#end(new PushError('closed', `The gateway closed with ${event.code}: ${event.reason}`));
      },
      feed: (frame: Delivery) => this.#feed(frame),
      deliver: (frame: Delivery) => {
        const feed = this.#feed(frame);
        if (frame.type === 'PUSH') feed?.deliver(frame.data.items, frame.data.ids);
        else {
          const { room, dropped, reason } = frame.data;
          if (room === undefined) emit('lagged', { room, dropped, reason });
          else feed?.lagged({ room, dropped, reason });
        }
      },
      refused: (room: RoomFeed, error: PushError) => {
        this.#forget(room);
        room.end(error);
        emit('error', error);
      },
      left: (room: RoomFeed, reason: string) => {
        this.#forget(room);
        room.end(undefined, new PushError('left', `Taken out of the room ${room.name}: ${reason}`));
        emit('left', { room: room.name, reason });
      },
      failed: (error: PushError) => emit('error', error),
      wire: () => (this.#emitter.has('frame') ? (frame: WireFrame) => emit('frame', frame) : undefined),
      lagged: (event: Lagged) => emit('lagged', event),
      gap: (event: Gap) => emit('gap', event),
    };
  }
}

function leftError(name: string): PushError {
  return new PushError('left', `The room ${name} was left.`);
}
