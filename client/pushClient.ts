import type { Subprotocol } from '@pushcluster/protocol/frames.ts';
import { type Backoff, defaultBackoff } from './backoff.ts';
import { type Clock, systemClock } from './clock.ts';
import type { News, SocketConstructor, WireFrame } from './connection.ts';
import { Emitter } from './emitter.ts';
import { type Closed, Link, type LinkOwner, type LinkState } from './link.ts';
import { PushError } from './pushError.ts';
import { Feed, type Gap, type Lagged, type Room, RoomFeed, type Stream } from './stream.ts';
import type { TokenSource } from './token.ts';

export type PushOptions = {
  /** A JWT, or what gives one: called at each connect, and before the last one expires. */
  token?: TokenSource;
  /** Take frames compressed. Default: where the platform can inflate them. */
  compression?: boolean;
  /** Subprotocols to offer in place of the usual; `[]` speaks as go-push clients do: no moves, repeats not dropped. */
  protocols?: string[];
  /** Default: the platform's. */
  WebSocket?: SocketConstructor;
  /** Milliseconds; default: `{ base: 500, cap: 30000, stable: 10000 }`. */
  backoff?: Partial<Backoff>;
  /** Items that wait for a slow `for await` at most; then the oldest go, and `lagged` tells. Default 1000. */
  queueLimit?: number;
  /** Milliseconds until a handshake counts as failed. Default 10,000. */
  openTimeout?: number;
  /** Milliseconds of silence until the gateway is asked for a sign of life. Default 40,000. */
  idleTimeout?: number;
  /** Milliseconds that it may take to answer. Default 10,000. */
  probeTimeout?: number;
  /** Closes the client when it aborts. */
  signal?: AbortSignal;
  /** 0 to 1, for jitter. Default: Math.random. */
  random?: () => number;
  clock?: Clock;
};

export type Left = { room: string; reason: string };

export type PushEvents = {
  state: LinkState;
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

const V1: typeof Subprotocol.v1 = 'pushcluster.v1';
const DEFLATE: typeof Subprotocol.deflate = 'pushcluster.v1.deflate';

/** What a browser's page has: other platforms lack an address, or tell nothing of the network. */
const page = globalThis as {
  location?: { href?: string };
  addEventListener?(type: 'online', listener: () => void): void;
  removeEventListener?(type: 'online', listener: () => void): void;
};

/** A lasting connection to a PushCluster: it connects at once, and comes back by itself until `close()`. */
export class PushClient {
  /** Items pushed to everyone. */
  readonly all: Stream;
  /** Items pushed to this user. (Without a subprotocol these can't be told apart, and come by `all`.) */
  readonly user: Stream;
  readonly #all: Feed;
  readonly #user: Feed;
  readonly #rooms = new Map<string, RoomFeed>();
  readonly #emitter = new Emitter<PushEvents>();
  readonly #owner: LinkOwner & { lagged(event: Lagged): void; gap(event: Gap): void };
  readonly #link: Link;
  readonly #queueLimit: number;
  readonly #hurry = () => this.#link.hurry();

  /**
   * @param url of the gateway's `/connect`: `ws:`, `wss:`, or in browsers a path
   * @throws TypeError or SyntaxError where `url` is none, Error where the platform has no WebSocket
   */
  constructor(url: string | URL, options: PushOptions = {}) {
    const WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!WebSocket) throw new Error('This platform has no WebSocket: pass one by the option WebSocket.');
    const address = new URL(url, page.location?.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.hash = '';
    this.#queueLimit = options.queueLimit ?? 1000;
    this.#owner = this.#linkOwner();
    this.#all = this.all = new Feed(undefined, this.#owner, this.#queueLimit);
    // A publisher counts the items of all users together: what is missing there was for others.
    this.#user = this.user = new Feed(undefined, this.#owner, this.#queueLimit, false);
    this.#link = new Link(
      {
        connection: {
          url: address,
          protocols: options.protocols ?? ((options.compression ?? canInflate()) ? [DEFLATE, V1] : [V1]),
          WebSocket,
          token: options.token,
          clock: options.clock ?? systemClock,
          openTimeout: options.openTimeout ?? 10_000,
          idleTimeout: options.idleTimeout ?? 40_000,
          probeTimeout: options.probeTimeout ?? 10_000,
        },
        backoff: { ...defaultBackoff, ...options.backoff },
        random: options.random ?? Math.random,
      },
      this.#owner,
    );
    page.addEventListener?.('online', this.#hurry);
    if (onAbort(options.signal, () => this.close())) this.#link.connect();
  }

  get state(): LinkState {
    return this.#link.state;
  }

  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof PushEvents>(name: Name, listener: (event: PushEvents[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  /**
   * Joins a room, now and after every reconnect, until it is left. A room that is joined already is returned as it is.
   * `Item` is what you expect of your backend: it is not checked.
   *
   * @throws PushError `closed` where the client is closed
   */
  join<Item = unknown>(name: string, { signal }: { signal?: AbortSignal } = {}): Room<Item> {
    if (this.state === 'closed') throw new PushError('closed', 'The client is closed: make a new one to join a room.');
    let room = this.#rooms.get(name);
    if (!room) {
      room = new RoomFeed(name, this.#owner, this.#queueLimit, (left) => this.#leave(left));
      this.#rooms.set(name, room);
      this.#link.join(room);
    }
    onAbort(signal, room.leave);
    return room as Room as Room<Item>;
  }

  /** Ends the connection and all streams, for good. */
  close(): void {
    this.#link.close();
    this.#end();
  }

  #leave(room: RoomFeed) {
    if (!this.#forget(room)) return;
    this.#link.leave(room.name);
    room.end(undefined, new PushError('left', `The room ${room.name} was left.`));
  }

  /** Whether the room was still there. */
  #forget(room: RoomFeed): boolean {
    return this.#rooms.get(room.name) === room && this.#rooms.delete(room.name);
  }

  #end(error?: PushError) {
    page.removeEventListener?.('online', this.#hurry);
    for (const room of this.#rooms.values())
      room.end(error, error ?? new PushError('closed', 'The client was closed.'));
    this.#rooms.clear();
    this.#all.end(error);
    this.#user.end(error);
  }

  #feed(frame: News): Feed | undefined {
    if (frame.type !== 'PUSH') return undefined;
    const { room, user } = frame.data;
    return room !== undefined ? this.#rooms.get(room) : user ? this.#user : this.#all;
  }

  #linkOwner() {
    const emit: Emitter<PushEvents>['emit'] = (name, event) => this.#emitter.emit(name, event);
    return {
      rooms: this.#rooms,
      state: (state: LinkState) => emit('state', state),
      opened: () => emit('open', undefined),
      moved: () => emit('moved', undefined),
      closed: (event: Closed) => {
        emit('close', event);
        if (!event.willRetry)
          this.#end(new PushError('closed', `The gateway closed with ${event.code}: ${event.reason}`));
      },
      deliver: (frame: News) => {
        if (frame.type === 'PUSH') this.#feed(frame)?.deliver(frame.data.items, frame.data.ids);
        else if (frame.type === 'LAGGED') {
          const { room, dropped, reason } = frame.data;
          const feed = room === undefined ? undefined : this.#rooms.get(room);
          if (feed) feed.lagged({ room, dropped, reason });
          else if (room === undefined) emit('lagged', { room, dropped, reason });
        }
      },
      covers: (frame: News) => frame.type === 'PUSH' && (this.#feed(frame)?.covers(frame.data.ids) ?? true),
      refused: (room: RoomFeed, error: PushError) => {
        this.#forget(room);
        room.end(error);
        emit('error', error);
      },
      left: (room: RoomFeed, reason: string) => {
        this.#forget(room);
        room.end(undefined, new PushError('left', `The API took this client out of the room ${room.name}: ${reason}`));
        emit('left', { room: room.name, reason });
      },
      failed: (error: PushError) => emit('error', error),
      wire: () => (this.#emitter.has('frame') ? (frame: WireFrame) => emit('frame', frame) : undefined),
      lagged: (event: Lagged) => emit('lagged', event),
      gap: (event: Gap) => emit('gap', event),
    };
  }
}

function canInflate(): boolean {
  try {
    return Boolean(new DecompressionStream('deflate-raw'));
  } catch {
    return false;
  }
}

/** Calls `run` when `signal` aborts, at once where it has. False where it has. */
function onAbort(signal: AbortSignal | undefined, run: () => void): boolean {
  if (signal?.aborted) {
    run();
    return false;
  }
  signal?.addEventListener('abort', run, { once: true });
  return true;
}
