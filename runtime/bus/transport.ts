import { createConnection, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  type NatsConnection,
  NatsConnectionImpl,
  setTransportFactory,
} from 'nats/lib/nats-base-client.js';
import { NodeTransport, nodeResolveHost } from 'nats/lib/node_transport.js';

/** Bytes read at once, as many as Node's own streams ask for. */
const READ_BYTES = 65_536;

/**
 * nats.js's transport, which reads into one buffer instead of through a stream. A hub is woken by each message; with
 * Node's stream in between that costs a third more (docs/decisions.md). Under TLS it is as before.
 */
class DirectTransport extends NodeTransport {
  override dial({ hostname, port }: { hostname: string; port: number }): Promise<Socket> {
    const dialled = Promise.withResolvers<Socket>();
    let problem: Error | undefined;
    const socket: Socket = createConnection(
      {
        host: hostname,
        port,
        noDelay: true,
        onread: {
          buffer: Buffer.allocUnsafeSlow(READ_BYTES),
          // nats.js keeps what it is given, and the buffer is filled anew.
          callback: (size, buffer) => {
            socket.emit('data', Buffer.from(buffer.subarray(0, size)));
            return true;
          },
        },
      },
      () => {
        socket.removeAllListeners();
        dialled.resolve(socket);
      },
    );
    socket.on('error', (error) => {
      problem = error;
    });
    socket.on('close', () => {
      socket.removeAllListeners();
      dialled.reject(problem);
    });
    return dialled.promise;
  }
}

/** Connects as nats.js's own `connect` does, by the transport above. */
export function connect(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new DirectTransport(), dnsResolveFn: nodeResolveHost });
  return NatsConnectionImpl.connect(options);
}
