import { once } from 'node:events';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';

/** A loopback TCP proxy between a client and a server: the network that a test may cut. */
export class TcpProxy {
  readonly port: number;
  /** Called for each connection that a client makes. */
  onConnection: () => void = () => {};
  readonly #server: Server;
  readonly #wires = new Set<Wire>();
  #cut = false;

  constructor(server: Server, port: number, targetPort: number) {
    this.#server = server;
    this.port = port;
    server.on('connection', (client) => {
      this.onConnection();
      const wire = new Wire(client, targetPort, this.#cut);
      this.#wires.add(wire);
      wire.onEnd = () => this.#wires.delete(wire);
    });
  }

  get connections(): number {
    return this.#wires.size;
  }

  /** Carries nothing either way from now on, and tells nobody: no byte, no end of a connection. */
  cut(): void {
    this.#cut = true;
    for (const wire of this.#wires) wire.cut();
  }

  /**
   * Carries again. What a connection held back is carried on where its sender is still there, as TCP would send it
   * again; the ends that happened meanwhile are told. Waits first until all that was said during the cut is seen here,
   * so that a sender who gave up before the heal counts as gone.
   */
  async heal(): Promise<void> {
    for (let quiet = 0, seen = this.#seen(); quiet < 5; quiet++) {
      await setImmediate();
      if (this.#seen() === seen) continue;
      seen = this.#seen();
      quiet = 0;
    }
    this.#cut = false;
    for (const wire of this.#wires) wire.heal();
  }

  /** Breaks every connection at both ends (RST). */
  reset(): void {
    for (const wire of [...this.#wires]) wire.reset();
  }

  async close(): Promise<void> {
    this.reset();
    await once(this.#server.close(), 'close');
  }

  /** Events of all connections until now. */
  #seen(): number {
    let seen = 0;
    for (const wire of this.#wires) seen += wire.seen;
    return seen;
  }
}

/** Starts a proxy on a free loopback port to `targetPort`. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return new TcpProxy(server, address.port, targetPort);
}

/** One connection through the proxy. */
class Wire {
  onEnd = () => {};
  readonly #client: End;
  readonly #target: End;

  constructor(client: Socket, targetPort: number, cut: boolean) {
    this.#client = new End(client);
    this.#target = new End(createConnection({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true }));
    this.#client.peer = this.#target;
    this.#target.peer = this.#client;
    for (const end of [this.#client, this.#target]) {
      end.onGone = () => {
        if (this.#client.gone && this.#target.gone) this.onEnd();
      };
      if (cut) end.held = [];
    }
  }

  /** Events at both ends until now. */
  get seen(): number {
    return this.#client.seen + this.#target.seen;
  }

  cut(): void {
    this.#client.held ??= [];
    this.#target.held ??= [];
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

/** One end of a wire: what it says goes to its peer, or is held while the wire is cut. */
class End {
  peer: End | undefined;
  onGone = () => {};
  gone = false;
  seen = 0;
  held: Buffer[] | undefined;
  readonly socket: Socket;
  #finished = false;
  #broken = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    for (const event of ['data', 'end', 'error', 'close']) socket.on(event, () => this.seen++);
    socket.on('data', (bytes) => {
      if (this.held) this.held.push(bytes);
      else this.peer?.socket.write(bytes);
    });
    socket.on('end', () => {
      this.#finished = true;
      if (!this.held) this.peer?.socket.end();
    });
    socket.on('error', () => {
      this.#broken = true;
    });
    socket.on('close', () => {
      this.gone = true;
      if (!this.held) this.#tellEnd();
      this.onGone();
    });
  }

  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    // A sender that broke off sends nothing again: what was on its way is lost.
    if (!this.#broken) for (const bytes of held) this.peer?.socket.write(bytes);
    if (this.#finished && !this.#broken) this.peer?.socket.end();
    if (this.gone) this.#tellEnd();
  }

  reset(): void {
    this.held = undefined;
    this.#broken = true;
    // While its FIN is on the way a socket can't be reset: Node would keep its handle, and spin at the process's end.
    if (this.socket.writableEnded && !this.socket.writableFinished) this.socket.destroy();
    else if (!this.socket.destroyed) this.socket.resetAndDestroy();
  }

  #tellEnd(): void {
    if (this.#broken) this.peer?.reset();
    else this.peer?.socket.end();
  }
}
