/** What an attempt to connect fails with while the line is cut. */
export const CUT = new Error('The connection is cut by this page.');

/** The line to the gateways. It can be cut: connections are gone at once, and no other opens until it is over. */
export class Line {
  isCut = false;
  /** For the SDK. */
  WebSocket;
  /** @type {Set<WebSocket>} */
  #sockets = new Set();

  constructor() {
    const line = this;
    this.WebSocket = class extends WebSocket {
      /**
       * @param {string} url
       * @param {string[]} protocols
       */
      constructor(url, protocols) {
        if (line.isCut) throw CUT;
        super(url, protocols);
        line.#sockets.add(this);
        this.addEventListener('close', () => line.#sockets.delete(this));
      }
    };
  }

  /**
   * @param {number} seconds
   * @param {() => void} over
   */
  cut(seconds, over) {
    this.isCut = true;
    // A closing handshake would take the gateway's answer. This is what a page sees whose network has failed.
    for (const socket of this.#sockets) socket.dispatchEvent(new CloseEvent('close', { code: 1006 }));
    setTimeout(() => {
      this.isCut = false;
      over();
      dispatchEvent(new Event('online'));
    }, seconds * 1_000);
  }
}
