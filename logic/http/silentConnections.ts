import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Connections on which nothing was sent yet, over TLS also those without a request after the handshake. Node counts them
 * neither as idle nor as busy, so closing a server misses them.
 */
export class SilentConnections {
  readonly #sockets = new Set<Socket>();

  /** Follows the connections of `server` from now on. */
  constructor(server: Server) {
    const follow = (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    };
    server.on('connection', follow);
    server.on('secureConnection', follow);
  }

  close() {
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }
}
