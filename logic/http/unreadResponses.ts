import type { Server } from 'node:http';

/**
 * Closes a connection whose client takes nothing of its response for `wait` milliseconds, and up to twice as long if it took
 * some before. What the kernel holds of a response counts as taken.
 *
 * @param onCut called for each connection that is closed
 */
export function cutUnread(server: Server, wait: number, onCut: () => void): void {
  server.prependListener('request', (_request, response) => {
    response.once('prefinish', () => {
      const { socket } = response;
      if (!socket || socket.writableLength === 0) return;
      // Ahead of Node, which then sets the time for the next request, or sends the next response.
      response.prependOnceListener('finish', () => socket.setTimeout(0));
      response.setTimeout(wait, () => {
        onCut();
        socket.destroy();
      });
    });
  });
}
