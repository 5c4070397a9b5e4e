import type { FrameId, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Clock } from './clock.ts';
import { PushError } from './pushError.ts';
import { readServerFrame } from './serverFrame.ts';
import { refreshDelay, type TokenSource } from './token.ts';

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

/** A frame as it came: for a look behind the scenes. */
export type WireFrame = {
  /** Bytes on the wire: of the compressed form, where it was. */
  bytes: number;
  /** The JSON text. */
  text: string;
  /** Items in it. */
  items: number;
  /** Milliseconds since the epoch. */
  at: number;
};

export type ConnectionConfig = {
  url: URL;
  protocols: string[];
  WebSocket: SocketConstructor;
  token: TokenSource | undefined;
  clock: Clock;
  /** Milliseconds until a handshake counts as failed. */
  openTimeout: number;
  /** Milliseconds of silence until a PING asks whether the gateway is still there. */
  idleTimeout: number;
  /** Milliseconds that it may take to answer. */
  probeTimeout: number;
};

/** What is not an answer to a request. */
export type News = Exclude<ServerFrame, { type: 'OK' | 'ERROR' | 'PONG' }>;

export interface ConnectionOwner {
  opened(connection: Connection): void;
  received(connection: Connection, frame: News): void;
  /** Called once, after all that was received, unless close() was called. */
  closed(connection: Connection, code: number, reason: string): void;
  failed(error: PushError): void;
  /** Absent where nobody looks. */
  wire(): ((frame: WireFrame) => void) | undefined;
}

// A gateway allows a burst of 100 frames and 50 a second by default: stay below, or many rooms would get us closed.
const BURST = 60;
const PER_SECOND = 40;

/** Until the next try of a token refresh that failed, milliseconds. */
const REFRESH_RETRY = 5_000;

/** Malformed payload, as we name it: the code never goes over the wire. */
const MALFORMED = 1007;
const LOST = 1006;

/** One WebSocket: opening, requests and answers, inflating in order, the token's refresh, and silence noticed. */
export class Connection {
  /** Rooms whose JOIN has no answer yet. */
  readonly joining = new Set<string>();
  /** Where set, news are kept here until the connection's turn comes. */
  held: News[] | undefined;
  /** Items in `held`. */
  heldItems = 0;
  /** When it opened, milliseconds since the epoch. */
  openedAt: number | undefined;
  /** By when the gateway wants us gone, milliseconds since the epoch. */
  leaveBy: number | undefined;

  readonly #config: ConnectionConfig;
  readonly #owner: ConnectionOwner;
  readonly #timers = new Set<() => void>();
  readonly #answers = new Map<FrameId, (error?: PushError) => void>();
  #socket: Socket | undefined;
  #over = false;
  #lastId = 0;
  #heard = 0;
  #heardAt = 0;
  #inflating = 0;
  #tail = Promise.resolve();
  #outbox: string[] = [];
  #credit = BURST;
  #creditAt = 0;
  #sendLater = false;

  constructor(config: ConnectionConfig, owner: ConnectionOwner) {
    this.#config = config;
    this.#owner = owner;
  }

  start(): void {
    this.#after(this.#config.openTimeout, () => {
      if (this.openedAt === undefined) this.#lose(LOST, 'The handshake took too long.');
    });
    const { token } = this.#config;
    if (typeof token === 'function')
      this.#fetchToken(token)
        .then((fresh) => this.#open(fresh))
        .catch((error) => this.#lose(LOST, error.message));
    else this.#open(token);
  }

  /** Sends a frame with an id; `answer` gets nothing for OK, or the refusal. It is not called where the connection ends before. */
  request(type: string, data: object, answer: (error?: PushError) => void): void {
    const id = ++this.#lastId;
    this.#answers.set(id, answer);
    this.send(type, data, id);
  }

  send(type: string, data: object, id?: number): void {
    this.#outbox.push(JSON.stringify({ type, id, data }));
    this.#flush();
  }

  /** Asks for a sign of life now. */
  probe(): void {
    if (this.openedAt === undefined) return;
    const heard = this.#heard;
    this.send('PING', {});
    this.#after(this.#config.probeTimeout, () => {
      if (heard === this.#heard) this.#lose(LOST, 'The gateway fell silent.');
    });
  }

  /** Ends it; `closed` is not called. Resolves when all that was received has been handled. */
  close(): Promise<void> {
    this.#detach();
    return this.#tail;
  }

  /** Calls `run` after `ms`, unless the connection ends before. */
  #after(ms: number, run: () => void) {
    const cancel = this.#config.clock.after(ms, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }

  after(ms: number, run: () => void): void {
    if (!this.#over) this.#after(ms, run);
  }

  #open(token: string | undefined) {
    if (this.#over) return;
    const { url, protocols, WebSocket, clock } = this.#config;
    const address = new URL(url);
    if (token !== undefined) address.searchParams.set('token', token);
    const socket = new WebSocket(address.href, protocols);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.openedAt = this.#creditAt = this.#heardAt = clock.now();
      this.#watch();
      this.#refreshInTime(token);
      this.#owner.opened(this);
      this.#flush();
    };
    socket.onmessage = ({ data }: { data: unknown }) => this.#receive(data);
    // It says nothing that `close` does not; unheard it would be thrown by some implementations.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.#lose(code, String(reason));
  }

  #receive(data: unknown) {
    this.#heard++;
    this.#heardAt = this.#config.clock.now();
    if (typeof data === 'string' && this.#inflating === 0) return this.#read(data);
    this.#inflating++;
    // Frames inflate side by side, and are read in the order in which they came.
    const text = typeof data === 'string' ? data : inflate(data);
    this.#tail = this.#tail.then(async () => {
      this.#read(await text, data);
      this.#inflating--;
    });
  }

  #read(text: string | undefined, data: unknown = text) {
    let frame: ServerFrame | undefined;
    try {
      frame = readServerFrame(text!);
    } catch {
      this.#owner.failed(
        new PushError('frame', 'A frame of the gateway is malformed: it was cut or changed on its way.'),
      );
      return this.#lose(MALFORMED, 'A frame was malformed.');
    }
    this.#owner.wire()?.({
      bytes: data instanceof ArrayBuffer ? data.byteLength : new TextEncoder().encode(text).length,
      text: text!,
      items: frame?.type === 'PUSH' ? frame.data.items.length : 0,
      at: this.#config.clock.now(),
    });
    if (!frame || frame.type === 'PONG') return;
    if (frame.type !== 'OK' && frame.type !== 'ERROR') return this.#owner.received(this, frame);
    const answer = this.#answers.get(frame.id);
    this.#answers.delete(frame.id);
    answer?.(frame.type === 'OK' ? undefined : new PushError(frame.data.code, frame.data.message));
  }

  #flush() {
    if (this.openedAt === undefined || this.#over || this.#sendLater) return;
    const now = this.#config.clock.now();
    this.#credit = Math.min(BURST, this.#credit + (Math.max(0, now - this.#creditAt) / 1000) * PER_SECOND);
    this.#creditAt = now;
    for (; this.#outbox.length > 0 && this.#credit >= 1; this.#credit--) this.#socket?.send(this.#outbox.shift()!);
    if (this.#outbox.length === 0) return;
    this.#sendLater = true;
    this.#after(1000 / PER_SECOND, () => {
      this.#sendLater = false;
      this.#flush();
    });
  }

  #watch(ms = this.#config.idleTimeout) {
    this.#after(ms, () => {
      const { clock, idleTimeout } = this.#config;
      const left = idleTimeout - (clock.now() - this.#heardAt);
      if (left <= 0) this.probe();
      this.#watch(left > 0 ? left : idleTimeout);
    });
  }

  #refreshInTime(token: string | undefined) {
    const { token: source, clock } = this.#config;
    if (token === undefined || typeof source !== 'function') return;
    const delay = refreshDelay(token, clock.now());
    if (delay === undefined) return;
    const retry = () => this.after(REFRESH_RETRY, refresh);
    const refresh = () => {
      this.#fetchToken(source).then((fresh) => {
        this.request('AUTH', { token: fresh }, (error) => {
          if (!error) return this.#refreshInTime(fresh);
          this.#owner.failed(error);
          retry();
        });
      }, retry);
    };
    this.#after(delay, refresh);
  }

  async #fetchToken(source: () => string | Promise<string>): Promise<string> {
    try {
      return await source();
    } catch (cause) {
      const error = new PushError('token', 'The token callback failed: see cause.', { cause });
      if (!this.#over) this.#owner.failed(error);
      throw error;
    }
  }

  #lose(code: number, reason: string) {
    if (this.#over) return;
    this.#detach();
    const tell = () => this.#owner.closed(this, code, reason);
    if (this.#inflating === 0) tell();
    else this.#tail = this.#tail.then(tell);
  }

  #detach() {
    this.#over = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }
}

/** Undefined where it is no raw DEFLATE. */
async function inflate(data: unknown): Promise<string | undefined> {
  try {
    const { readable, writable } = new DecompressionStream('deflate-raw');
    const writer = writable.getWriter();
    // What fails here fails at the reader too. (A Blob's stream costs more, and leaks on Node 24.16 to 24.18.)
    writer.write(new Uint8Array(data as ArrayBuffer)).catch(() => {});
    writer.close().catch(() => {});
    return await new Response(readable).text();
  } catch {
    return undefined;
  }
}
