import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Resource } from '../ipc/resource.ts';
import { Gate, LoopPressure, logShortage } from './pressure.ts';
import type { Refusal } from './refusal.ts';

/** Kept free for what is neither a connection nor about to be one: keys fetched, files looked at. */
const RESERVED_FDS = 64;

/** Part of the handshakes that are still answered where the loop is late: the others are cut. */
const LATE_SHARE = 10;

const refusal = (code: Refusal['code'], detail: string): Refusal => ({ status: 503, code, detail });
const FULL = refusal('full', 'this gateway holds as many connections as it may');
const HANDSHAKES = refusal('handshakes', 'too many handshakes are under way on this gateway');
const SHORT: Record<Resource, Refusal> = {
  memory: refusal('memory', 'this gateway is short of memory'),
  fds: refusal('fds', 'this gateway is short of file descriptors'),
  loop: refusal('loop', 'this gateway is behind with serving its connections'),
};

export type ShardProtectionOptions = {
  settings: () => Settings['gateway']['protection'];
  log: Logger;
  /** Descriptors that may be open, and those that are before anyone connects. */
  fdLimit: number;
  ownFds: number;
  /** WebSockets now. */
  connections: () => number;
  /** Descriptors now that are neither a connection's nor a handshake's: of the echo, and of what takes PROXY headers off. */
  others: () => number;
  /** Handshakes that wait for the hub's word, those included whose client has gone. */
  asked: () => number;
};

/**
 * Whether one more handshake is taken on: asked at each, so it only compares numbers. Descriptors are counted by what
 * opens them, the loop's delay comes with each report, and the hub says what it found.
 */
export class ShardProtection {
  /** Connections at most by the hub's word; nothing before its first. */
  allowance = 0;
  /** What is short by the hub's word. */
  short: Resource | undefined;
  /** Of the loop, 0..1. */
  loopPressure = 0;
  readonly #options: ShardProtectionOptions;
  readonly #loop = new LoopPressure();
  readonly #loopGate = new Gate('loop');
  readonly #fdGate = new Gate('fds');
  #handshakes = 0;

  constructor(options: ShardProtectionOptions) {
    this.#options = options;
  }

  /** Sockets that are no WebSocket: handshakes under way, for the most part. */
  get handshakes(): number {
    return this.#handshakes;
  }

  get fds(): number {
    const { ownFds, connections, others } = this.#options;
    return ownFds + this.#handshakes + connections() + others();
  }

  /** A socket was opened; false where it is to be cut, unread: refusing it politely would cost what is short. */
  opened(): boolean {
    this.#handshakes++;
    const { handshakes } = this.#options.settings();
    // TLS costs its time before there is a request to refuse.
    const most = this.#isLate ? handshakes / LATE_SHARE : 2 * handshakes;
    return this.#handshakes <= most && this.fds <= this.#fdsAtMost;
  }

  /** A socket was closed before it was a WebSocket, or has become one. */
  ended(): void {
    this.#handshakes--;
  }

  /** Why no WebSocket can be opened now; undefined where one can. */
  refusal(): Refusal | undefined {
    const { asked, connections, settings, log, fdLimit } = this.#options;
    if (this.#isLate) return SHORT.loop;
    if (Math.max(this.#handshakes, asked()) > settings().handshakes) return HANDSHAKES;
    const { fds } = this;
    if (this.#fdGate.read(fds / fdLimit, Math.min(settings().fds, this.#fdsAtMost / fdLimit)))
      logShortage(log, this.#fdGate.closed, 'fds', { open: fds, limit: fdLimit });
    if (this.#fdGate.closed) return SHORT.fds;
    if (connections() >= this.allowance) return this.short === 'memory' ? SHORT.memory : FULL;
    return undefined;
  }

  /** A second has passed. @param lag the worst delay of the loop in it, milliseconds */
  observe(lag: number): void {
    const { settings, log } = this.#options;
    this.loopPressure = this.#loop.read(lag, settings().loopLag);
    if (this.#loopGate.read(this.loopPressure, 1))
      logShortage(log, this.#loopGate.closed, 'loop', { lagMs: Math.round(lag), limitMs: settings().loopLag });
  }

  get #isLate(): boolean {
    return this.short === 'loop' || this.#loopGate.closed;
  }

  get #fdsAtMost(): number {
    return this.#options.fdLimit - RESERVED_FDS;
  }
}
