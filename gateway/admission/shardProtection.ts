import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Resource } from '../ipc/resource.ts';
import { LoopPressure } from './loopPressure.ts';
import type { Refusal } from './refusal.ts';
import { logShortage, Shortage } from './shortage.ts';

/** Descriptors kept free for what is no connection: keys that are fetched, files that are read. */
const RESERVED_FDS = 64;

/** The kernel is asked how many descriptors are open once there may be this share of those at which they are short. */
const NEARLY = 0.9;

/** Between two ticks the kernel is asked only if more connections than this share of the limit were closed since. */
const WORTH_COUNTING = 1 / 64;

/** While the loop is late, one in so many handshakes is still answered. The others are cut. */
const LATE_SHARE = 10;

const refusal = (code: Refusal['code'], detail: string): Refusal => ({ status: 503, code, detail });
const FULL = refusal('full', 'this gateway has reached its maximum number of connections');
const HANDSHAKES = refusal('handshakes', 'this gateway is processing too many handshakes');
const SHORT: Record<Resource, Refusal> = {
  memory: refusal('memory', 'this gateway is short of memory'),
  fds: refusal('fds', 'this gateway is short of file descriptors'),
  loop: refusal('loop', 'this gateway is overloaded: its event loop is delayed'),
};

export type ShardProtectionOptions = {
  settings: () => Settings['gateway']['protection'];
  log: Logger;
  /** Descriptors that may be open, and those that are open before anyone connects. */
  fdLimit: number;
  ownFds: number;
  /** WebSockets now. */
  connections: () => number;
  /** Other descriptors now: of the echo's peers, and of the proxy that takes PROXY headers off. */
  others: () => number;
  /** All that are open now, as the kernel counts them. */
  openFds: () => number;
  /** Handshakes that wait for the hub's answer, including those whose client has gone. */
  asked: () => number;
};

/**
 * A shard's part of the overload protection: whether one more handshake is taken on. It is asked for each handshake, so it
 * only compares numbers: descriptors are counted by what opens them, the loop's delay is observed once a second, and the
 * hub reports what it found short (HubProtection). The engine reports the close of a WebSocket at once, and keeps its socket
 * for seconds if the peer does: how many it keeps, the kernel alone can tell.
 */
export class ShardProtection {
  /** Connections at most: the hub's last allowance; 0 until the first one. */
  allowance = 0;
  /** What the hub found short. */
  short: Resource | undefined;
  /** Of this shard's loop, 0 to 1. */
  loopPressure = 0;
  readonly #options: ShardProtectionOptions;
  readonly #loop = new LoopPressure();
  readonly #loopShortage = new Shortage('loop');
  readonly #fdShortage = new Shortage('fds');
  #handshakes = 0;
  /** Sockets of closed WebSockets, as the kernel counted them last; and WebSockets that were closed since. */
  #held = 0;
  #closed = 0;

  constructor(options: ShardProtectionOptions) {
    this.#options = options;
  }

  /** Sockets that are no WebSocket (yet): handshakes under way, for the most part. */
  get handshakes(): number {
    return this.#handshakes;
  }

  /** Open descriptors. */
  get fds(): number {
    return this.#knownFds + this.#held;
  }

  /** A socket was opened; false: cut it, unread, since an answer would cost what is short. */
  opened(): boolean {
    this.#handshakes++;
    const { handshakes } = this.#options.settings();
    // TLS costs its time before there is a request to refuse.
    const most = this.#isLate ? handshakes / LATE_SHARE : 2 * handshakes;
    return this.#handshakes <= most && this.#fdsAtWorst() <= this.#fdsAtMost;
  }

  /** A socket was closed before it became a WebSocket, or has become one. */
  ended(): void {
    this.#handshakes--;
  }

  /** A WebSocket was closed, and its peer may keep the socket. */
  closed(): void {
    this.#closed++;
  }

  /** Why no WebSocket can be opened now; undefined if one can. Logs when descriptors begin or end to be short. */
  refusal(): Refusal | undefined {
    const { asked, connections, settings, log, fdLimit } = this.#options;
    if (this.#isLate) return SHORT.loop;
    // Its request has come: to answer it costs no more than to refuse it, and nothing has to be done again.
    if (asked() > settings().handshakes) return HANDSHAKES;
    const fds = this.#fdsAtWorst();
    if (this.#fdShortage.read(fds / fdLimit, this.#shortOfFds / fdLimit))
      logShortage(log, this.#fdShortage.active, 'fds', { open: fds, limit: fdLimit });
    if (this.#fdShortage.active) return SHORT.fds;
    if (connections() >= this.allowance) return this.short === 'memory' ? SHORT.memory : FULL;
    return undefined;
  }

  /** A second has passed. @param lag the worst delay of the loop in it, milliseconds */
  observe(lag: number): void {
    const { settings, log } = this.#options;
    if (this.#held > 0 || this.fds + this.#closed > NEARLY * this.#shortOfFds) this.#countHeld();
    this.loopPressure = this.#loop.read(lag, settings().loopLag);
    if (this.#loopShortage.read(this.loopPressure, 1))
      logShortage(log, this.#loopShortage.active, 'loop', { lagMs: Math.round(lag), limitMs: settings().loopLag });
  }

  /**
   * Descriptors that may be open. Where they would be short because of connections that were just closed, the kernel is
   * asked: many who were cut off come back within a second.
   */
  #fdsAtWorst(): number {
    if (this.fds + this.#closed >= this.#shortOfFds && this.#closed > WORTH_COUNTING * this.#options.fdLimit)
      this.#countHeld();
    return this.fds + this.#closed;
  }

  #countHeld() {
    this.#held = Math.max(0, this.#options.openFds() - this.#knownFds);
    this.#closed = 0;
  }

  get #knownFds(): number {
    const { ownFds, connections, others } = this.#options;
    return ownFds + this.#handshakes + connections() + others();
  }

  get #isLate(): boolean {
    return this.short === 'loop' || this.#loopShortage.active;
  }

  /** So many are short. */
  get #shortOfFds(): number {
    const { settings, fdLimit } = this.#options;
    return Math.min(settings().fds * fdLimit, this.#fdsAtMost);
  }

  get #fdsAtMost(): number {
    return this.#options.fdLimit - RESERVED_FDS;
  }
}
