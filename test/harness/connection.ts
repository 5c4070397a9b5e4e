import type { IncomingMessage } from 'node:http';
import { createConnection, isIPv6, type NetConnectOpts, type Socket } from 'node:net';
import { inflateRawSync } from 'node:zlib';
import type { LagReason, ServerFrame } from '@pushcluster/protocol/frames.ts';
import { type ClientOptions, WebSocket } from 'ws';
import { itemsOf, type Mark, markOf } from './items.ts';
import { PATIENCE_MS, until } from './until.ts';

export type WireForm = 'plain' | 'v1' | 'deflate';
export const WIRE_FORMS = ['plain', 'v1', 'deflate'] as const satisfies WireForm[];
const SUBPROTOCOLS: Record<WireForm, string[]> = {
  plain: [],
  v1: ['pushcluster.v1'],
  deflate: ['pushcluster.v1.deflate'],
};
const LOOPBACK = '127.0.0.1';
/** Milliseconds for a handshake. After that a client tries another server. */
const HANDSHAKE_MS = 20_000;
/** Frames whose items are kept parsed, because many connections receive the same frame. */
const KEPT_FRAMES = 64;

export type ConnectOptions = {
  /** Loopback by default. */
  host?: string;
  port: number;
  form?: WireForm;
  token?: string;
  /** A list makes one header line for each value. */
  headers?: Record<string, string | string[]>;
  /** Local address to connect from, such as 127.0.0.2. */
  from?: string;
  /** Certificate authority (PEM) to trust; if given, the client connects with TLS. */
  ca?: string | Buffer;
  /** Bytes to send before the handshake, such as a PROXY header. */
  ahead?: Uint8Array;
  /** Keep the text of each item, for tests that compare bytes. */
  keepItems?: boolean;
};

/** The server answered the handshake with an HTTP response. */
export class Refused extends Error {
  override name = 'Refused';
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;

  constructor(status: number, headers: IncomingMessage['headers'], body: string) {
    super(`refused with ${status}: ${body}`);
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

/** The numbers of the items that a connection received from one writer in one place, in order of arrival. */
export type Tally = { writer: string; room: string | undefined; numbers: number[] };
export type Lag = { room: string | undefined; dropped: number; reason: LagReason };
export type Closing = { code: number; reason: string; at: number };
export type Reply = Extract<ServerFrame, { type: 'OK' | 'ERROR' }>;

/** A WebSocket client that records what it receives. */
export class Connection {
  readonly form: WireForm;
  /** The server's address, for messages. */
  readonly peer: string;
  readonly port: number;
  /** Rooms that the gateway confirmed. */
  readonly rooms = new Set<string>();
  readonly user: string | undefined;
  /** Numbers of the marked items, by writer and room. */
  readonly tallies = new Map<string, Tally>();
  readonly lags: Lag[] = [];
  /** Rooms whose history was interrupted. */
  readonly resets: string[] = [];
  readonly left: { room: string; reason: string }[] = [];
  /** Time at which RECONNECT arrived, milliseconds of performance.now(). */
  reconnectAt: number | undefined;
  reconnectWithin: number | undefined;
  /** Texts of items, if `keepItems` is set. */
  readonly items: { room: string | undefined; text: string }[] = [];
  received = 0;
  frames = 0;
  binaryFrames = 0;
  bytes = 0;
  closing: Closing | undefined;
  /** Called when RECONNECT arrives. */
  onReconnect: () => void = () => {};
  readonly #socket: WebSocket;
  readonly #keepItems: boolean;
  readonly #replies = new Map<number, PromiseWithResolvers<Reply>>();
  #asked = 0;
  #pongs = 0;

  /** Resolves when the handshake has succeeded. Rejects with Refused if the server answers with an HTTP response. */
  static open(options: ConnectOptions & { user?: string }): Promise<Connection> {
    const { host = LOOPBACK, port, form = 'plain', headers, from, ca, ahead, token } = options;
    const query = token === undefined ? '' : `?token=${token}`;
    const url = `${ca === undefined ? 'ws' : 'wss'}://${isIPv6(host) ? `[${host}]` : host}:${port}/connect${query}`;
    const client: ClientOptions = { perMessageDeflate: false, handshakeTimeout: HANDSHAKE_MS };
    if (headers)
      client.finishRequest = (request) => {
        for (const [name, value] of Object.entries(headers)) request.setHeader(name, value);
        request.end();
      };
    if (from !== undefined) client.localAddress = from;
    if (ca !== undefined) client.ca = ca;
    if (ahead)
      client.createConnection = ((target: NetConnectOpts) => dialWith(target, ahead)) as typeof createConnection;
    const socket = new WebSocket(url, SUBPROTOCOLS[form], client);
    const connection = new Connection(socket, options);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(connection));
      socket.on('error', reject);
      socket.once('unexpected-response', (_request, response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () =>
          reject(new Refused(response.statusCode ?? 0, response.headers, Buffer.concat(parts).toString())),
        );
      });
    });
  }

  private constructor(socket: WebSocket, options: ConnectOptions & { user?: string }) {
    this.#socket = socket;
    this.form = options.form ?? 'plain';
    this.port = options.port;
    this.peer = options.host === undefined ? `port ${options.port}` : options.host;
    this.user = options.user;
    this.#keepItems = options.keepItems ?? false;
    socket.on('message', (data: Buffer, isBinary) => this.#receive(data, isBinary));
    socket.on('close', (code, reason) => {
      this.closing = { code, reason: reason.toString(), at: performance.now() };
      for (const { reject } of this.#replies.values()) reject(new Error(`closed with ${code} before its answer came`));
      this.#replies.clear();
    });
  }

  /** The code with which the connection was closed; undefined while it is open. */
  get closed(): number | undefined {
    return this.closing?.code;
  }

  /** Number of items that LAGGED frames reported as lost, for one reason or for all. */
  told(reason?: LagReason): number {
    return this.lags.reduce((sum, lag) => sum + (reason === undefined || lag.reason === reason ? lag.dropped : 0), 0);
  }

  /** Joins a room; resolves when the gateway confirms. Throws if the gateway refuses. */
  async join(room: string): Promise<void> {
    const reply = await this.ask('JOIN', { room });
    if (reply.type === 'ERROR') throw new Error(`JOIN of ${room} was refused: ${reply.data.code}`);
    this.rooms.add(room);
  }

  /** Leaves a room; resolves when the gateway confirms. */
  async leave(room: string): Promise<void> {
    await this.ask('LEAVE', { room });
    this.rooms.delete(room);
  }

  /** Sends a frame with an id; resolves with the reply. */
  ask(type: 'JOIN' | 'LEAVE' | 'AUTH', data: object): Promise<Reply> {
    if (this.closing) return Promise.reject(new Error(`it was closed with ${this.closing.code}`));
    const id = ++this.#asked;
    this.send({ type, id, data });
    const reply = Promise.withResolvers<Reply>();
    const timer = setTimeout(
      () => reply.reject(new Error(`no answer to ${type} ${JSON.stringify(data)} within ${PATIENCE_MS} ms`)),
      PATIENCE_MS,
    );
    this.#replies.set(id, reply);
    return reply.promise.finally(() => clearTimeout(timer));
  }

  /** Sends PING; resolves with its PONG. By then the gateway has processed all earlier frames of this client. */
  async ping(): Promise<void> {
    const before = this.#pongs;
    this.send({ type: 'PING', data: {} });
    await until('PONG comes', () => {
      if (this.#pongs > before) return true;
      if (this.closing) throw new Error(`closed with ${this.closing.code} before its PONG came`);
      return false;
    });
  }

  send(frame: object | string): void {
    this.#socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Stops reading the socket: data fills first the kernel's buffers, then the gateway's. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Waits until the connection is closed; returns how. Throws after `deadline` milliseconds. */
  async ended(deadline = PATIENCE_MS): Promise<Closing> {
    await until('the connection is closed', () => this.closing !== undefined, deadline);
    return this.closing!;
  }

  close(code = 1000): void {
    this.#socket.close(code);
  }

  /** Destroys the socket without a close frame. */
  cut(): void {
    this.#socket.terminate();
  }

  #receive(data: Buffer, isBinary: boolean) {
    this.bytes += data.length;
    if (isBinary) this.binaryFrames++;
    const text = (isBinary ? inflateRawSync(data) : data).toString();
    if (text.startsWith('{"type":"PUSH"')) this.#push(text);
    else this.#control(JSON.parse(text));
  }

  #push(text: string) {
    this.frames++;
    const { room, items } = cut(text);
    this.received += items.length;
    for (const { text: item, mark } of items) {
      if (this.#keepItems) this.items.push({ room, text: item });
      if (!mark) continue;
      const key = `${mark.writer}\n${room ?? ''}`;
      const tally = this.tallies.get(key);
      if (tally) tally.numbers.push(mark.n);
      else this.tallies.set(key, { writer: mark.writer, room, numbers: [mark.n] });
    }
  }

  #control(frame: ServerFrame) {
    switch (frame.type) {
      case 'OK':
      case 'ERROR':
        this.#replies.get(Number(frame.id))?.resolve(frame);
        this.#replies.delete(Number(frame.id));
        return;
      case 'LAGGED':
        this.lags.push({ room: frame.data.room, dropped: frame.data.dropped, reason: frame.data.reason });
        return;
      case 'RECONNECT':
        this.reconnectAt = performance.now();
        this.reconnectWithin = frame.data.withinMs;
        this.onReconnect();
        return;
      case 'LEAVE':
        this.left.push(frame.data);
        return;
      case 'RESET':
        this.resets.push(frame.data.room);
        return;
      case 'PONG':
        this.#pongs++;
        return;
      case 'PUSH':
        throw new Error('a PUSH frame that does not begin like one');
    }
  }
}

/** Destroys the sockets of all these connections. */
export function cutAll(connections: Iterable<Connection>): void {
  for (const connection of connections) connection.cut();
}

type Cut = { room: string | undefined; items: { text: string; mark: Mark | undefined }[] };
const kept = new Map<string, Cut>();

function cut(frame: string): Cut {
  const known = kept.get(frame);
  if (known) return known;
  const head = frame.slice(0, frame.indexOf('"items":['));
  const [, name] = /^\{"type":"PUSH","data":\{"room":("(?:[^"\\]|\\.)*"),/.exec(head) ?? [];
  const room: string | undefined = name === undefined ? undefined : JSON.parse(name);
  const result: Cut = { room, items: itemsOf(frame).map((text) => ({ text, mark: markOf(text) })) };
  if (kept.size >= KEPT_FRAMES) kept.clear();
  kept.set(frame, result);
  return result;
}

function dialWith(target: NetConnectOpts, ahead: Uint8Array): Socket {
  const socket = createConnection(target);
  socket.write(ahead);
  return socket;
}
