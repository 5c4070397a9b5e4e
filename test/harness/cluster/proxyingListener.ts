import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type Endpoint, proxyHeader } from '../proxyHeader.ts';

/** A balancer that ends clients' connections: it opens one to a node for each, which begins with a PROXY header. */
export class ProxyingListener {
  /** Nodes that get new connections, in turn. */
  targets: readonly { host: string; port: number }[] = [];
  readonly #server: Server;
  readonly #destination: Endpoint;
  #next = 0;

  /**
   * @param destination the address that clients connect to, as the header tells it
   * @param host to listen on
   */
  static async start(destination: Endpoint, host: string): Promise<ProxyingListener> {
    const listener = new ProxyingListener(destination);
    listener.#server.listen(0, host);
    await once(listener.#server, 'listening');
    return listener;
  }

  private constructor(destination: Endpoint) {
    this.#destination = destination;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => this.#take(client));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.close();
  }

  #take(client: Socket): void {
    client.on('error', () => client.destroy());
    const target = this.targets[this.#next++ % Math.max(1, this.targets.length)];
    const { remoteAddress, remotePort } = client;
    if (target === undefined || remoteAddress === undefined || remotePort === undefined) {
      client.resetAndDestroy();
      return;
    }
    const node = connect({ ...target, noDelay: true, allowHalfOpen: true });
    node.on('error', () => client.resetAndDestroy());
    node.once('close', () => client.destroySoon());
    client.once('close', () => node.destroySoon());
    node.write(proxyHeader({ address: remoteAddress, port: remotePort }, this.#destination));
    client.pipe(node).pipe(client);
  }
}
