/**
 * A WebSocket for the SDK that connects where `address` says at each attempt, as a balancer does, in place of the host of
 * its URL. A proxy would take the time that clients need to move.
 * @param address host and port
 * @param opening called with each WebSocket, which has yet to connect, and where it connects to
 * @param Base what it is besides; by default the WebSocket of Node
 */
export function redirectedSocket(
  address: () => string,
  opening?: (socket: WebSocket, at: string) => void,
  Base: typeof WebSocket = WebSocket,
) {
  return class extends Base {
    constructor(url: string, protocols: string[]) {
      const target = new URL(url);
      target.host = address();
      super(target, protocols);
      opening?.(this, target.host);
    }
  };
}
