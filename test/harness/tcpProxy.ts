import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as setTimer } from 'node:timers';
import { setTimeout } from 'node:timers/promises';

const LOOPBACK = '127.0.0.1';
/** After so many turns of so many milliseconds without an event, all data that was sent has been seen. */
const QUIET = { turns: 5, ms: 5 };

/** Where bytes go. */
export type Way = 'to the server' | 'to the client';
const WAYS: readonly Way[] = ['to the server', 'to the client'];

/** A loopback TCP proxy between client and server, which represents a network that a test can break. */
export class TcpProxy {
  readonly port: number;
  /** Called for each connection of a client. */
  onConnection: () => void = () => {};
  readonly #server: Server;
  readonly #wires = new Set<Wire>();
  #cut: readonly Way[] = [];
  #delay = 0;

  constructor(server: Server, port: number, targetPort: number) {
    this.#server = server;
    this.port = port;
    server.on('connection', (client) => {
      this.onConnection();
      const wire = new Wire(client, targetPort, this.#cut, this.#delay);
      this.#wires.add(wire);
      wire.onEnd = () => this.#wires.delete(wire);
    });
  }

  get connections(): number {
    return this.#wires.size;
  }

  /** From now on forwards nothing in either direction, or in one: no bytes, no FIN, no RST. */
  cut(ways = WAYS): void {
    this.#cut = [...this.#cut, ...ways];
    for (const wire of this.#wires) wire.cut(ways);
  }

  /** From now on everything takes `delay` milliseconds longer, in each direction. */
  slow(delay: number): void {
    this.#delay = delay;
    for (const wire of this.#wires) wire.slow(delay);
  }

  /**
   * Forwards again. Data held back by the cut is forwarded if its sender is still connected, because TCP would
   * retransmit the data; connections that ended during the cut are ended on the other side, too. Waits first until the
   * proxy has seen all data sent during the cut, so that a sender that gave up before the heal counts as gone. Even on
   * loopback the kernel of a busy machine delivers late: bytes of our own make the round meanwhile.
   */
  async heal(): Promise<void> {
    const echo = createServer((socket) => socket.pipe(socket)).listen(0, LOOPBACK);
    await once(echo, 'listening');
    const round = createConnection({ port: portOf(echo), host: LOOPBACK, noDelay: true });
    for (let quiet = 0, seen = this.#seen(); quiet < QUIET.turns; quiet++) {
      round.write('x');
      await Promise.all([once(round, 'data'), setTimeout(QUIET.ms)]);
      if (this.#seen() === seen) continue;
      seen = this.#seen();
      quiet = 0;
    }
    round.destroy();
    echo.close();
    this.#cut = [];
    for (const wire of this.#wires) wire.heal();
  }

  /** Resets every connection at both ends (RST). */
  reset(): void {
    for (const wire of [...this.#wires]) wire.reset();
  }

  async close(): Promise<void> {
    this.reset();
    await once(this.#server.close(), 'close');
  }

  /** The number of events on all connections so far. */
  #seen(): number {
    let seen = 0;
    for (const wire of this.#wires) seen += wire.seen;
    return seen;
  }
}

/** Starts a proxy on a free loopback port that forwards to `targetPort`. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const server = createServer({ allowHalfOpen: true }).listen(0, LOOPBACK);
  await once(server, 'listening');
  return new TcpProxy(server, portOf(server), targetPort);
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}

/** One connection through the proxy. */
class Wire {
  onEnd = () => {};
  readonly #client: End;
  readonly #target: End;

  constructor(client: Socket, targetPort: number, ways: readonly Way[], delay: number) {
    this.#client = new End(client);
    this.#target = new End(createConnection({ port: targetPort, host: LOOPBACK, allowHalfOpen: true }));
    this.#client.peer = this.#target;
    this.#target.peer = this.#client;
    for (const end of [this.#client, this.#target]) {
      end.onGone = () => {
        if (this.#client.gone && this.#target.gone) this.onEnd();
      };
    }
    this.cut(ways);
    this.slow(delay);
  }

  /** The number of events at both ends so far. */
  get seen(): number {
    return this.#client.seen + this.#target.seen;
  }

  cut(ways: readonly Way[]): void {
    if (ways.includes('to the server')) this.#client.held ??= [];
    if (ways.includes('to the client')) this.#target.held ??= [];
  }

  slow(delay: number): void {
    for (const end of [this.#client, this.#target]) end.delay = delay;
  }

  heal(): void {
    this.#client.release();
    this.#target.release();
  }

  reset(): void {
    this.#client.reset();
    this.#target.reset();
  }
}

/** One end of a wire: its data goes to its peer, or is held while the wire is cut. */
class End {
  peer: End | undefined;
  onGone = () => {};
  gone = false;
  seen = 0;
  held: Buffer[] | undefined;
  /** Milliseconds that everything takes. */
  delay = 0;
  readonly socket: Socket;
  /** What is under way still, in order, and when it arrives, by `performance.now()`. */
  readonly #late: { at: number; arrive: () => void }[] = [];
  #finished = false;
  #broken = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    for (const event of ['data', 'end', 'error', 'close']) socket.on(event, () => this.seen++);
    socket.on('data', (bytes) =>
      this.#later(() => {
        if (this.held) this.held.push(bytes);
        else this.peer?.socket.write(bytes);
      }),
    );
    socket.on('end', () =>
      this.#later(() => {
        this.#finished = true;
        if (!this.held) this.peer?.socket.end();
      }),
    );
    socket.on('error', () => {
      this.#broken = true;
    });
    socket.on('close', () =>
      this.#later(() => {
        this.gone = true;
        if (!this.held) this.#tellEnd();
        this.onGone();
      }),
    );
  }

  /** Calls `arrive` after the delay, and after all that came before. */
  #later(arrive: () => void): void {
    if (this.delay === 0 && this.#late.length === 0) arrive();
    else if (this.#late.push({ at: performance.now() + this.delay, arrive }) === 1) this.#wait();
  }

  #wait(): void {
    setTimer(
      () => {
        const now = performance.now();
        while (this.#late[0] && this.#late[0].at <= now) this.#late.shift()!.arrive();
        if (this.#late.length > 0) this.#wait();
      },
      Math.max(0, this.#late[0]!.at - performance.now()),
    );
  }

  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    // A sender that broke off retransmits nothing: its data in flight is lost.
    if (!this.#broken) for (const bytes of held) this.peer?.socket.write(bytes);
    if (this.#finished && !this.#broken) this.peer?.socket.end();
    if (this.gone) this.#tellEnd();
  }

  reset(): void {
    this.held = undefined;
    this.#broken = true;
    // A socket whose FIN is in flight can't be reset: Node would keep the handle, and loop when the process exits.
    if (this.socket.writableEnded && !this.socket.writableFinished) this.socket.destroy();
    else if (!this.socket.destroyed) this.socket.resetAndDestroy();
  }

  #tellEnd(): void {
    if (this.#broken) this.peer?.reset();
    else this.peer?.socket.end();
  }
}
