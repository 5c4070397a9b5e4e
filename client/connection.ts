import type { FrameId, ServerFrame } from '@pushcluster/protocol/frames.ts';
import { optional } from './argument.ts';
import type { Clock } from './clock.ts';
import type { Emitter } from './emitter.ts';
import { FRAME_BURST, FRAMES_PER_SECOND, LOST, MALFORMED, PAUSE, REFRESH_RETRY, TOKEN_TIMEOUT } from './limits.ts';
import { PushError } from './pushError.ts';
import type { PushEvents } from './pushEvents.ts';
import { type ReadFrame, readServerFrame } from './serverFrame.ts';
import { refreshDelay, type Token, type TokenSource } from './token.ts';
import { TokenBucket } from './tokenBucket.ts';

/** The part of the standard WebSocket that is used. */
export interface Socket {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

export type ConnectionConfig = {
  /** Of the client: what its parts tell is told here. */
  events: Emitter<PushEvents>;
  url: URL;
  protocols: string[];
  WebSocket: SocketConstructor;
  token: TokenSource | null | undefined;
  clock: Clock;
  /** Milliseconds until a handshake counts as failed. */
  openTimeout: number;
  /** Milliseconds of silence until a PING asks whether the gateway is still there. */
  idleTimeout: number;
  /** Milliseconds that it may take to answer. */
  probeTimeout: number;
};

/** Takes the data of an OK, or an ERROR. */
type Answer = (error: PushError | undefined, data: Extract<ServerFrame, { type: 'OK' }>['data']) => void;

/** A frame that is no answer to a request. */
export type News = Exclude<ReadFrame, { type: 'OK' | 'ERROR' }>;

/** What a stream delivers. */
export type Delivery = Extract<ServerFrame, { type: 'PUSH' | 'LAGGED' }>;

/** A stream, as a connection sees it. */
export interface Target {
  deliver(frame: Delivery, at: number): void;
}

/** What a connection brought for a stream while another one served, and when. */
export type Held = [stream: Target, frame: Delivery, at: number];

export interface ConnectionOwner {
  /** The connections whose frames are read, in the order in which they serve: frames of the first are delivered, those of others held. */
  readonly line: readonly Connection[];
  /** Milliseconds until something that failed is tried again. */
  retryDelay(failures: number): number;
  opened(connection: Connection): void;
  received(connection: Connection, frame: News): void;
  /** Called once, after all received frames, unless close() was called. */
  closed(connection: Connection, code: number, reason: string): void;
  /** A stream needs its connections for something else than before. */
  step(): void;
}

/**
 * One WebSocket: connects with a token and refreshes it, sends requests within the gateway's rate limit, reads frames in
 * order, inflated, and notices a gateway that no longer answers.
 */
export class Connection {
  /** Rooms whose last LEAVE has no answer yet, with the id of that LEAVE: what comes of them is of a membership that has ended. */
  readonly leaving = new Map<string, number>();
  /** From when on it brings everything that is pushed, by stream and the clock's `now`. Absent: it does not, or perhaps not. */
  readonly ready = new WeakMap<Target, number>();
  /** In the order in which they came. */
  held: Held[] = [];
  isOpen = false;
  /** By the clock's `now`; undefined before. */
  openedAt: number | undefined;
  /** What a RECONNECT said: by when to be gone, and how long to read on after the client has joined elsewhere. */
  leaveBy: number | undefined;
  overlap!: number;
  /** Set while frames wait. */
  turn: Promise<void> | undefined;

  /** When the last frame came, by the clock's `now` and by its wall. */
  heardAt!: number;
  heardWall!: number;

  readonly owner: ConnectionOwner;
  readonly #config: ConnectionConfig;
  readonly #timers = new Set<() => void>();
  readonly #answers = new Map<FrameId, Answer>();
  #socket: Socket | undefined;
  #over = false;
  #lastId = 0;
  /** What is waited for by #expect(), until something is heard. */
  #awaited: object | undefined;
  #unread = 0;
  #tail = Promise.resolve();
  #outbox: object[] = [];
  readonly #rate: TokenBucket;
  #sendLater = false;

  /** @param sendRate fraction of the usual rate, up to 1 */
  constructor(config: ConnectionConfig, owner: ConnectionOwner, sendRate: number) {
    this.#config = config;
    this.owner = owner;
    this.#rate = new TokenBucket(Math.max(1, FRAME_BURST * sendRate), FRAMES_PER_SECOND * sendRate);
  }

  start(): void {
    // A slow token callback does not count as a gateway that can't be reached: it has a timeout of its own.
    this.#expect(TOKEN_TIMEOUT);
    const { token } = this.#config;
    const open = (fresh: Token) => this.#open(fresh);
    if (typeof token === 'function') this.#fetchToken(token, open, (error) => this.#lose(error.message));
    else open(token);
  }

  /**
   * Sends a frame with an id. `data` becomes JSON when it is sent, which may be later. `answer` is called without an error
   * for OK, and with one for ERROR. It is not called if the connection ends before.
   */
  request(type: string, data: object, answer: Answer): number {
    const id = ++this.#lastId;
    this.#answers.set(id, answer);
    this.say(type, data, id);
    return id;
  }

  /** Sends LEAVE. Until it is answered the room is one of `leaving`. */
  quit(room: string): void {
    const id = this.request('LEAVE', { room }, () => {
      if (this.leaving.get(room) === id) this.leaving.delete(room);
    });
    this.leaving.set(room, id);
  }

  /** The frames that follow wait: code that awaited what was just read runs before. */
  pause(): void {
    const pass = async () => {
      for (let left = PAUSE; left > 0; left--) await undefined;
      this.turn = undefined;
    };
    this.turn = pass();
  }

  say(type: string, data: object, id?: number): void {
    this.#outbox.push({ type, id, data });
    this.#flush();
  }

  /** Sends a PING. If nothing is received within `probeTimeout`, the connection counts as lost. */
  probe(): void {
    if (this.#awaited) return;
    this.#expect(this.#config.probeTimeout);
    this.say('PING', {});
  }

  /** Closes the connection; `closed` is not called. Resolves when all received frames have been handled. */
  close(): Promise<void> {
    this.#detach();
    return this.#tail;
  }

  /** If nothing is heard within `ms`, the connection counts as lost. The last call counts. */
  #expect(ms: number) {
    const awaited = {};
    this.#awaited = awaited;
    this.later(ms, () => {
      if (this.#awaited === awaited) this.#lose('Timeout.');
    });
  }

  /** Calls `run` after `ms`, unless the connection ends before. */
  later(ms: number, run: () => void): void {
    if (this.#over) return;
    const cancel = this.#config.clock.after(ms, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }

  /** Whether its frames are delivered. */
  get serves(): boolean {
    return this.owner.line[0] === this;
  }

  /** The clock's `now`. */
  now(): number {
    return this.#config.clock.now();
  }

  /** Milliseconds since the epoch. */
  wall(): number {
    return this.#config.clock.wall?.() ?? this.now();
  }

  #open(token: Token) {
    if (this.#over) return;
    const { url, protocols, WebSocket, openTimeout } = this.#config;
    this.#expect(openTimeout);
    const address = new URL(url);
    if (token) address.searchParams.set('token', token);
    try {
      const socket = new WebSocket(address.href, protocols);
      this.#socket = socket;
      socket.binaryType = 'arraybuffer';
      // A platform may call a handler late or twice: such a call is ignored.
      socket.onopen = () => {
        if (this.#over || this.isOpen) return;
        this.isOpen = true;
        this.openedAt = this.now();
        this.#hear();
        this.#watch();
        this.#refreshInTime(token);
        this.owner.opened(this);
        this.#flush();
      };
      socket.onmessage = (event: { data: unknown }) => this.#receive(event?.data);
      // The error event says nothing that the close event does not. Some implementations throw it if it has no handler.
      socket.onerror = () => {};
      socket.onclose = (event: { code: unknown; reason: unknown }) =>
        this.#lose(String(event?.reason ?? ''), Number(event?.code) || LOST);
    } catch (cause) {
      this.#failSoon(cause);
    }
  }

  #receive(data: unknown) {
    if (this.#over) return;
    this.#hear();
    if (typeof data === 'string' && this.#unread === 0 && !this.turn) return this.#read(data);
    this.#unread++;
    // Frames are inflated concurrently, and read in the order in which they came.
    const text = typeof data === 'string' ? data : inflate(data);
    this.#tail = this.#tail.then(async () => {
      const inflated = await text;
      while (this.turn) await this.turn;
      this.#read(inflated, data);
      this.#unread--;
    });
  }

  #hear() {
    this.heardAt = this.now();
    this.heardWall = this.wall();
    this.#awaited = undefined;
  }

  #read(text: string | undefined, data: unknown = text) {
    if (!this.owner.line.includes(this)) return;
    let frame: ReadFrame | undefined;
    try {
      frame = readServerFrame(text!);
    } catch {
      return this.#fail(new PushError('frame', 'Bad frame.'), MALFORMED);
    }
    if (this.#config.events.has('frame'))
      this.#config.events.emit('frame', {
        bytes: new Blob([data as Blob]).size,
        text: text!,
        items: frame?.type === 'PUSH' ? frame.data.items.length : 0,
        at: this.wall(),
      });
    if (!frame) return;
    if (frame.type !== 'OK' && frame.type !== 'ERROR') return this.owner.received(this, frame);
    const answer = this.#answers.get(frame.id);
    this.#answers.delete(frame.id);
    answer?.(
      frame.type === 'OK' ? undefined : new PushError(frame.data.code, frame.data.message),
      frame.data as object,
    );
  }

  #flush() {
    if (!this.isOpen || this.#over || this.#sendLater) return;
    const now = this.now();
    try {
      for (; this.#outbox.length > 0 && this.#rate.wait(now) === 0; this.#rate.take(now))
        this.#socket!.send(JSON.stringify(this.#outbox.shift()));
    } catch (cause) {
      return this.#failSoon(cause);
    }
    if (this.#outbox.length === 0) return;
    this.#sendLater = true;
    this.later(this.#rate.wait(now), () => {
      this.#sendLater = false;
      this.#flush();
    });
  }

  #watch() {
    const { idleTimeout } = this.#config;
    const left = idleTimeout - (this.now() - this.heardAt);
    if (left <= 0) this.probe();
    this.later(left > 0 ? left : idleTimeout, () => this.#watch());
  }

  #refreshInTime(token: Token) {
    const { token: source, events } = this.#config;
    const delay = typeof source === 'function' && token && refreshDelay(token, this.wall());
    if (!delay) return;
    let failures = 0;
    const retry = () => this.later(REFRESH_RETRY + this.owner.retryDelay(failures++), refresh);
    const refresh = () => {
      const use = (fresh: Token) => {
        if (!fresh) return;
        this.request('AUTH', { token: fresh }, (error) => {
          if (!error) return this.#refreshInTime(fresh);
          events.emit('error', error);
          retry();
        });
      };
      this.#fetchToken(source, use, retry);
    };
    this.later(delay, refresh);
  }

  async #fetchToken(
    source: Exclude<TokenSource, string>,
    use: (token: Token) => void,
    failed: (error: PushError) => void,
  ): Promise<void> {
    let token: Token;
    try {
      token = await source();
      optional('string', 'token', token);
    } catch (cause) {
      // A callback that throws at once is called by the constructor, before the page can listen.
      await undefined;
      const error = new PushError('token', 'Token failed.', { cause });
      if (!this.#over) this.#config.events.emit('error', error);
      return failed(error);
    }
    use(token);
  }

  /** The WebSocket failed. The caller that opened it or sent by it has not returned yet: the connection ends in a microtask. */
  #failSoon(cause: unknown) {
    queueMicrotask(() => {
      if (!this.#over) this.#fail(new PushError('connect', 'WebSocket failed.', { cause }));
    });
  }

  #fail(error: PushError, code?: number) {
    this.#config.events.emit('error', error);
    this.#lose(error.message, code);
  }

  #lose(reason: string, code = LOST) {
    if (this.#over) return;
    this.#detach();
    const tell = () => this.owner.closed(this, code, reason);
    if (this.#unread === 0) tell();
    else this.#tail = this.#tail.then(tell);
  }

  #detach() {
    this.#over = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    try {
      const socket = this.#socket!;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    } catch {
      // There is no socket yet, or its platform throws here. The handlers are gone, which is enough.
    }
  }
}

/** The text of raw DEFLATE; undefined if the data is none. */
async function inflate(data: unknown): Promise<string | undefined> {
  try {
    // Some platforms deliver Blobs, whatever the socket's binaryType. (Blob.stream() costs more, and leaks on Node 24.16 to 24.18.)
    const { body } = new Response(data as Blob);
    return await new Response(body!.pipeThrough(new DecompressionStream('deflate-raw'))).text();
  } catch {
    return undefined;
  }
}
