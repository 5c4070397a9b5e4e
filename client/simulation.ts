import type { Clock } from './clock.ts';
import type { Socket } from './connection.ts';

/** For tests: a clock that moves only when told to. */
export class SimulatedClock implements Clock {
  #now = 1_700_000_000_000;
  /** By time, the next one last; of two for the same time, the one that was set first. */
  readonly #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), run };
    let [from, to] = [0, this.#timers.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#timers[middle]!.at > timer.at) from = middle + 1;
      else to = middle;
    }
    this.#timers.splice(from, 0, timer);
    return () => {
      const place = this.#timers.indexOf(timer);
      if (place >= 0) this.#timers.splice(place, 1);
    };
  }

  /** Number of timers that are set. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Lets `ms` pass: runs timers that are due, in order, and the promises that follow from each. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await turn();
    for (let next = this.#timers.at(-1); next && next.at <= end; next = this.#timers.at(-1)) {
      this.#timers.pop();
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await settled();
    }
    this.#now = end;
  }
}

/** As `turn`, without a turn of the event loop, which takes much longer. */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/** Resolves after all promises that are ready have run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export type SentFrame = { type: string; id?: number; data: Record<string, unknown> };

/** One simulated WebSocket. The test plays the gateway with `accept`, `say`, `ok` and `end`. */
export class SimulatedSocket implements Socket {
  binaryType = 'blob';
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly url: URL;
  readonly protocols: string[];
  readonly sent: SentFrame[] = [];
  /** The code with which the client closed it. */
  closedWith: number | undefined;
  readonly #network: SimulatedNetwork;

  constructor(network: SimulatedNetwork, url: string, protocols: string[]) {
    this.#network = network;
    this.url = new URL(url);
    this.protocols = protocols;
  }

  send(text: string): void {
    const frame: SentFrame = JSON.parse(text);
    this.sent.push(frame);
    this.#network.onSend?.(this, frame);
  }

  close(code?: number): void {
    this.closedWith = code;
    this.#network.onClose?.(this);
  }

  // The gateway's part.

  accept(): void {
    this.#call(this.onopen, {});
  }

  say(frame: object | string | ArrayBuffer): void {
    const plain = typeof frame === 'string' || frame instanceof ArrayBuffer;
    this.#call(this.onmessage, { data: plain ? frame : JSON.stringify(frame) });
  }

  /** Answers all JOINs and AUTHs that have no answer yet. */
  ok(): void {
    for (const { id } of this.sent.splice(0)) if (id !== undefined) this.say({ type: 'OK', id, data: {} });
  }

  end(code: number, reason = ''): void {
    this.#call(this.onclose, { code, reason });
  }

  #call(handler: ((event: never) => void) | null, event: object) {
    (handler as ((event: object) => void) | null)?.(event);
  }
}

/** All sockets that a client opened, in order. */
export class SimulatedNetwork {
  readonly sockets: SimulatedSocket[] = [];
  onOpen: ((socket: SimulatedSocket) => void) | undefined;
  onSend: ((socket: SimulatedSocket, frame: SentFrame) => void) | undefined;
  onClose: ((socket: SimulatedSocket) => void) | undefined;

  /** One class for the sockets of all networks: with a class for each, nothing that is done to them gets fast. */
  readonly WebSocket: new (
    url: string,
    protocols: string[],
  ) => SimulatedSocket;

  constructor() {
    const open = (url: string, protocols: string[]) => {
      const socket = new SimulatedSocket(this, url, protocols);
      this.sockets.push(socket);
      this.onOpen?.(socket);
      return socket;
    };
    // An arrow function is no constructor.
    this.WebSocket = function WebSocket(url: string, protocols: string[]) {
      return open(url, protocols);
    } as unknown as typeof this.WebSocket;
  }

  get last(): SimulatedSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was opened');
    return socket;
  }
}

/** A PUSH frame with ids: items `from` to `to` of one publisher, each `{ p, n }`. */
export function pushFrame(room: string | undefined, publisher: string, from: number, to: number, extra: object = {}) {
  const items = Array.from({ length: to - from + 1 }, (_, i) => ({ p: publisher, n: from + i }));
  const place = room === undefined ? {} : { room };
  return { type: 'PUSH', data: { ...place, ...extra, ids: [[publisher, from, items.length]], items } };
}

/** An unsigned JWT with these claims. */
export function jwt(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part(claims)}.x`;
}
