import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { listenAddress } from '@pushcluster/runtime/listenAddress.ts';
import { canonicalAddress } from '../admission/clientAddress.ts';
import { ENOUGH_BYTES, parseProxyHeader } from './proxyHeader.ts';

/** Time for the header to come, milliseconds; then the connection is cut. A balancer sends it with its first bytes. */
const HEADER_WITHIN_MS = 5_000;
/** When the engine has closed its side, the client is given this long to read the last bytes, milliseconds. */
const LINGER_MS = 5_000;
/** Where the engine listens if there is a front. Only the front may connect to it. */
export const ENGINE_HOST = '127.0.0.1';
/** Length of the listen queue: as long as kernels allow by default. The engine's own is short. */
const BACKLOG = 4_096;
/** The front's connections to the engine come from 127.1.0.0 to 127.254.255.255. */
const FIRST_OWN = 0x01_00_00;
const LAST_OWN = 0xfe_ff_ff;

export type ProxyFrontOptions = {
  /** Port of the engine on ENGINE_HOST now. */
  enginePort: () => number;
  protection: { opened(): boolean; ended(): void };
  /** Called when a socket is cut, unread or because of its header. */
  refused: (code: 'handshakes' | 'proxy_header', address: string, reason: string) => void;
};

/**
 * Listens in place of the engine if balancers send the PROXY protocol. It takes the header off each connection and pipes the
 * rest to the engine, which reads only headers of version 2 of up to 36 bytes, and expects one at each request. The engine
 * learns the client by the address that the front connects from: each connection has its own of 127.0.0.0/8, which no client
 * can choose.
 */
export class ProxyFront {
  readonly #options: ProxyFrontOptions;
  readonly #server: Server;
  /** The client's address, by the address in 127.0.0.0/8 that stands for it. */
  readonly #clients = new Map<string, string>();
  #last = LAST_OWN;

  constructor(options: ProxyFrontOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#take(socket));
  }

  /** Shares the port with the fronts of other shards. Throws Error if it can't listen. */
  async listen(host: string, port: number): Promise<void> {
    this.#server.listen({ host: listenAddress(host), port, backlog: BACKLOG, reusePort: true });
    await once(this.#server, 'listening');
    // One connection could not be accepted, for example for want of a descriptor. The next ones may be.
    this.#server.on('error', ({ message }) => this.#options.refused('handshakes', '', message));
  }

  stop(): void {
    if (this.#server.listening) this.#server.close();
  }

  /** Descriptors that the engine does not count: two for each connection that was handed on. */
  get fds(): number {
    return 2 * this.#clients.size;
  }

  /** The client whose connection comes from this address; undefined if it is not the front's. */
  clientOf(own: string): string | undefined {
    return this.#clients.get(own);
  }

  #take(socket: Socket) {
    const { protection, refused } = this.#options;
    const peer = canonicalAddress(socket.remoteAddress ?? '') ?? '';
    socket.on('error', () => socket.destroy());
    const isOpen = protection.opened();
    socket.once('close', finish);
    let isWaiting = true;
    function finish() {
      if (isWaiting) protection.ended();
      isWaiting = false;
      clearTimeout(late);
    }
    const cut = (code: 'handshakes' | 'proxy_header', reason: string) => {
      refused(code, peer, reason);
      socket.resetAndDestroy();
    };
    const late = setTimeout(() => cut('proxy_header', 'it did not come in time'), HEADER_WITHIN_MS);
    if (!isOpen) {
      cut('handshakes', 'too many are under way');
      return;
    }
    let head = Buffer.alloc(0);
    /** Bytes of the header that are still to come; negative until its length is known. */
    let left = -1;
    let source = '';
    const read = (chunk: Buffer) => {
      let rest = chunk;
      if (left < 0) {
        head = Buffer.concat([head, chunk]);
        const header = parseProxyHeader(head.subarray(0, ENOUGH_BYTES));
        if (header.type === 'unknown') return;
        if (header.type === 'wrong') {
          cut('proxy_header', header.reason);
          return;
        }
        source = header.source ?? peer;
        left = header.length;
        rest = head;
      }
      const skipped = Math.min(left, rest.length);
      left -= skipped;
      if (left > 0) return;
      socket.off('data', read).off('end', ended);
      finish();
      this.#handOn(socket, source, rest.subarray(skipped));
    };
    const ended = () => {
      // A balancer's health check by TCP sends nothing, which is no error.
      if (head.length === 0) socket.destroy();
      else cut('proxy_header', 'the connection ended before it');
    };
    socket.on('data', read).on('end', ended);
  }

  /** Joins a client's socket and one to the engine until both are closed. */
  #handOn(client: Socket, source: string, first: Buffer) {
    const own = this.#ownAddress();
    const engine = connect({
      host: ENGINE_HOST,
      port: this.#options.enginePort(),
      localAddress: own,
      noDelay: true,
      allowHalfOpen: true,
    });
    this.#clients.set(own, source);
    engine.on('error', () => engine.destroy());
    if (first.length > 0) engine.write(first);
    client.pipe(engine).pipe(client);
    client.once('close', () => engine.destroy());
    engine.once('close', () => {
      this.#clients.delete(own);
      client.destroySoon();
      if (!client.destroyed) setTimeout(() => client.destroy(), LINGER_MS).unref();
    });
    if (client.destroyed) engine.destroy();
  }

  #ownAddress(): string {
    let address: string;
    do {
      this.#last = this.#last >= LAST_OWN ? FIRST_OWN : this.#last + 1;
      address = `127.${this.#last >> 16}.${(this.#last >> 8) & 255}.${this.#last & 255}`;
    } while (this.#clients.has(address));
    return address;
  }
}
