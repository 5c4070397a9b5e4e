import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { PATIENCE_MS, until } from './until.ts';

/** Frame opcodes (RFC 6455, 5.2). */
export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export type FrameParts = {
  opcode: number;
  payload?: string | Uint8Array;
  /** False: more fragments follow. */
  fin?: boolean;
  /** The three reserved bits, 0 to 7. */
  rsv?: number;
  /** False: unmasked, which a server must refuse. */
  mask?: boolean;
  /** The length to announce; that of the payload by default. */
  length?: number;
};

/** A client frame as bytes, valid or invalid. */
export function frame({ opcode, payload = '', fin = true, rsv = 0, mask = true, length }: FrameParts): Buffer {
  const body = Buffer.from(payload);
  const size = length ?? body.length;
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const bit = mask ? 0x80 : 0;
  let head: Buffer;
  if (size < 126) head = Buffer.of(first, bit | size);
  else if (size < 65_536) {
    head = Buffer.of(first, bit | 126, 0, 0);
    head.writeUInt16BE(size, 2);
  } else {
    head = Buffer.of(first, bit | 127, 0, 0, 0, 0, 0, 0, 0, 0);
    head.writeBigUInt64BE(BigInt(size), 2);
  }
  if (!mask) return Buffer.concat([head, body]);
  const key = randomBytes(4);
  const masked = body.map((byte, i) => byte ^ key[i & 3]!);
  return Buffer.concat([head, key, masked]);
}

export const text = (payload: string | Uint8Array) => frame({ opcode: Opcode.text, payload });
export const binary = (payload: Uint8Array) => frame({ opcode: Opcode.binary, payload });
export const ping = (payload: string | Uint8Array = '') => frame({ opcode: Opcode.ping, payload });

/** A close frame; empty if there is no code. */
export function close(code?: number, reason: string | Uint8Array = ''): Buffer {
  if (code === undefined) return frame({ opcode: Opcode.close });
  return frame({
    opcode: Opcode.close,
    payload: Buffer.concat([Buffer.of(code >> 8, code & 0xff), Buffer.from(reason)]),
  });
}

/** A fragmented message: one frame for each part. */
export function fragments(opcode: number, ...parts: (string | Uint8Array)[]): Buffer[] {
  return parts.map((payload, i) =>
    frame({ opcode: i === 0 ? opcode : Opcode.continuation, payload, fin: i === parts.length - 1 }),
  );
}

/** A frame from the server. */
export type Received = { fin: boolean; rsv: number; opcode: number; payload: Buffer };

export type UpgradeOptions = {
  /** Headers that replace those of a normal handshake; undefined omits a header. */
  headers?: Record<string, string | undefined>;
  method?: string;
  version?: string;
};

/** A handshake request as text. */
export function upgradeRequest(
  path: string,
  { headers = {}, method = 'GET', version = 'HTTP/1.1' }: UpgradeOptions = {},
): string {
  const all: Record<string, string | undefined> = {
    Host: '127.0.0.1',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  return `${method} ${path} ${version}\r\n${lines.join('\r\n')}\r\n\r\n`;
}

export type Answer = { status: number; headers: Map<string, string>; body: string };

/** A TCP connection on which a test can send valid and invalid WebSocket frames. */
export class RawWebSocket {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #upgraded = false;
  #ended = false;

  static async dial(port: number): Promise<RawWebSocket> {
    const socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new RawWebSocket(socket);
  }

  /** Connects and completes the handshake. */
  static async open(port: number, path = '/connect', options: UpgradeOptions = {}): Promise<RawWebSocket> {
    const raw = await RawWebSocket.dial(port);
    raw.send(upgradeRequest(path, options));
    const answer = await raw.answer();
    if (answer.status !== 101) throw new Error(`refused with ${answer.status}: ${answer.body}`);
    return raw;
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => {
      this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    });
    socket.on('close', () => {
      this.#ended = true;
    });
    socket.on('end', () => {
      this.#ended = true;
    });
    // A reset counts as an end of the connection.
    socket.on('error', () => {});
  }

  /** Whether the server has ended the TCP connection. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that were received but not read by the test. */
  get unread(): number {
    return this.#received.length;
  }

  /** Continues to read, and discards the data. */
  discard(): void {
    this.socket.removeAllListeners('data');
    this.#received = Buffer.alloc(0);
    this.socket.resume();
  }

  send(...parts: (string | Uint8Array)[]): void {
    for (const part of parts) if (!this.socket.destroyed) this.socket.write(part);
  }

  /** The next HTTP response. Throws after `deadline` milliseconds. */
  async answer(deadline = PATIENCE_MS): Promise<Answer> {
    await until('an HTTP answer comes', () => this.#headEnd > 0 || this.#ended, deadline);
    const end = this.#headEnd;
    if (end <= 0) throw new Error('the connection ended without an HTTP answer');
    const [first = '', ...lines] = this.#take(end + 4)
      .toString()
      .trimEnd()
      .split('\r\n');
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const status = Number(first.split(' ')[1]);
    if (status === 101) this.#upgraded = true;
    const length = Number(headers.get('content-length') ?? 0);
    await until('the body comes', () => this.#received.length >= length || this.#ended, deadline);
    return { status, headers, body: this.#take(length).toString() };
  }

  /** The next frame; undefined if the connection ended before. Throws after `deadline` milliseconds. */
  async frame(deadline = PATIENCE_MS): Promise<Received | undefined> {
    if (!this.#upgraded) throw new Error('no handshake was completed');
    let found = this.#parse();
    await until(
      'a frame comes',
      () => {
        found ??= this.#parse();
        return found !== undefined || this.#ended;
      },
      deadline,
    );
    return found;
  }

  /**
   * The next message that is not a heartbeat of the echo server, with its fragments joined; undefined if the connection
   * ended.
   */
  async message(deadline = PATIENCE_MS): Promise<Received | undefined> {
    const parts: Received[] = [];
    for (;;) {
      const next = await this.frame(deadline);
      if (!next) return undefined;
      if (next.opcode >= 8) return next;
      parts.push(next);
      if (!next.fin) continue;
      const payload = Buffer.concat(parts.map((part) => part.payload));
      const { opcode, rsv } = parts[0]!;
      if (opcode !== Opcode.text || payload.toString() !== 'heartbeat') return { fin: true, rsv, opcode, payload };
      parts.length = 0;
    }
  }

  /** Waits until the server has ended the TCP connection. Throws after `deadline` milliseconds. */
  async gone(deadline = PATIENCE_MS): Promise<void> {
    await until('the server ends the connection', () => this.#ended, deadline);
  }

  destroy(): void {
    this.socket.destroy();
  }

  get #headEnd(): number {
    return this.#received.indexOf('\r\n\r\n');
  }

  #take(length: number): Buffer {
    const taken = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  #parse(): Received | undefined {
    const bytes = this.#received;
    if (bytes.length < 2) return undefined;
    if ((bytes[1]! & 0x80) !== 0) throw new Error('the server masks its frames');
    let length = bytes[1]! & 0x7f;
    let head = 2;
    if (length === 126) {
      if (bytes.length < 4) return undefined;
      length = bytes.readUInt16BE(2);
      head = 4;
    } else if (length === 127) {
      if (bytes.length < 10) return undefined;
      length = Number(bytes.readBigUInt64BE(2));
      head = 10;
    }
    if (bytes.length < head + length) return undefined;
    const first = bytes[0]!;
    const payload = Buffer.from(bytes.subarray(head, head + length));
    this.#received = bytes.subarray(head + length);
    return { fin: (first & 0x80) !== 0, rsv: (first >> 4) & 7, opcode: first & 15, payload };
  }
}

/** The code and reason of a close frame; code 1005 if the frame has no code. */
export function closeOf(received: Received | undefined): { code: number; reason: string } | undefined {
  if (received?.opcode !== Opcode.close) return undefined;
  const { payload } = received;
  return { code: payload.length >= 2 ? payload.readUInt16BE(0) : 1005, reason: payload.subarray(2).toString() };
}

/** The `Sec-WebSocket-Accept` value for a key (RFC 6455, 1.3). */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
