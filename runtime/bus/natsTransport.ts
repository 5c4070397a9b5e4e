import { createConnection, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  type ConnectionOptions,
  type NatsConnection,
  NatsConnectionImpl,
  setTransportFactory,
} from 'nats/lib/nats-base-client.js';
import { NodeTransport, nodeResolveHost } from 'nats/lib/node_transport.js';
import { systemClock } from '../clock.ts';
import { ReadPacer } from './readPacer.ts';

/** Bytes read at once: the size that streams of Node use. */
const READ_BYTES = 65_536;

/**
 * The transport of nats.js, except that it reads into one buffer instead of through a stream of Node. A hub is woken by
 * each message, and the stream would make that a third more expensive (docs/decisions.md).
 *
 * Built on internals of nats.js: runtime/README.md, "Internals".
 */
class DirectTransport extends NodeTransport {
  /** The TCP connection, under TLS too. */
  #connection: Socket | undefined;

  /** `tls: null` declines TLS that the server offers, but what it demands is used: nats.js would fail. */
  override async startTLS(): Promise<TLSSocket> {
    if (this.options.tls === null) this.options = { ...this.options, tls: {} };
    return survivingErrors(await super.startTLS());
  }

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
          // A copy, because nats.js keeps what it gets and the buffer is reused.
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
    this.#connection = socket;
    survivingErrors(socket);
    socket.on('error', (error) => {
      problem = error;
    });
    socket.on('close', () => {
      socket.removeAllListeners();
      dialled.reject(problem);
    });
    return dialled.promise;
  }

  /**
   * Gives `parse` what is read from the next read on, in place of nats.js, whose way there is a promise and an asynchronous
   * iterator. Call it once connected. Bytes that `parse` can't read end the connection.
   * @returns what to pause so that nothing is read: a paused stream of TLS goes on to read and decrypt
   */
  readWith(parse: (bytes: Uint8Array) => void): Socket {
    const { socket } = this;
    const before = socket.listeners('data');
    socket.on('data', (bytes: Uint8Array) => {
      try {
        parse(bytes);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    // What was read before has been parsed by the next read: only microtasks are between.
    for (const listener of before) socket.removeListener('data', listener as (bytes: Buffer) => void);
    return this.#connection ?? socket;
  }
}

/**
 * The socket, whose errors end the process no more: nats.js removes all listeners while it connects and before it closes, and
 * an error without a listener is an uncaught exception. It learns of each by `close`.
 */
function survivingErrors<S extends Socket>(socket: S): S {
  const ignore = () => {};
  const removeAll = socket.removeAllListeners.bind(socket);
  // All arguments: without one it removes the listeners of all events, with `undefined` those of the event of that name.
  socket.removeAllListeners = (...event) => {
    removeAll(...event);
    return socket.on('error', ignore);
  };
  return socket.on('error', ignore);
}

/**
 * Connects as `connect` of nats.js does, with the transport above.
 * @param isPaced many messages in a short time are read together (ReadPacer)
 */
export async function connect(options: ConnectionOptions, isPaced = false): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new DirectTransport(), dnsResolveFn: nodeResolveHost });
  const connection = await NatsConnectionImpl.connect(options);
  if (!(connection instanceof NatsConnectionImpl)) throw new TypeError('not a connection of nats.js');
  const { protocol } = connection;
  const { transport, parser } = protocol;
  if (!(transport instanceof DirectTransport)) return connection;
  let pacer: ReadPacer | undefined;
  let messages = protocol.inMsgs;
  const socket = transport.readWith((bytes) => {
    parser.parse(bytes);
    pacer?.received(protocol.inMsgs - messages);
    messages = protocol.inMsgs;
  });
  if (isPaced) pacer = new ReadPacer(socket, systemClock);
  return connection;
}
