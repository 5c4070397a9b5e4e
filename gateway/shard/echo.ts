import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { BacklogLimit } from './backlogLimit.ts';
import { DROPPED, SENT, type Socket } from './engine.ts';
import type { Loop } from './loop.ts';

/** Messages that may wait for a slow peer of the echo (contract, section 2). */
const MAX_QUEUED = 1_000;
const HEARTBEAT_MS = 1_000;
/**
 * The first comes this late: the Autobahn testsuite has cases that pause for up to 2 s within a message (5.19, 5.20, 6.4),
 * and fails them if anything but their echo arrives.
 */
const FIRST_HEARTBEAT_MS = 2_300;
/** Peers at most. The echo is for diagnosis, and its peers count in no limit of the gateway. */
const MAX_PEERS = 256;

export class EchoPeer {
  /** Messages that wait. */
  queued = 0;
  ws: Socket | undefined;
  heartbeat: NodeJS.Timeout | undefined;
  // The backlog's.
  waiting = 0;
  waitingSince = 0;
}

/** The diagnostic echo at `/ws`: a heartbeat every second, and every message sent back as it came. */
export class Echo {
  /** Bytes that may wait for one peer. A peer over this or over MAX_QUEUED is cut. */
  readonly maxBuffer = 67_108_864;
  /** What waits for all peers, and how many bytes may. */
  readonly backlog: BacklogLimit<EchoPeer>;
  backlogBudget = Number.MAX_SAFE_INTEGER;
  readonly #peers = new Set<EchoPeer>();

  constructor(loop: Loop = systemClock) {
    this.backlog = new BacklogLimit({ loop, budget: () => this.backlogBudget, cut: ({ ws }) => ws?.close() });
  }

  /** One more peer can be served. */
  get hasRoom(): boolean {
    return this.#peers.size < MAX_PEERS;
  }

  get peers(): number {
    return this.#peers.size;
  }

  opened(peer: EchoPeer, ws: Socket): void {
    peer.ws = ws;
    this.#peers.add(peer);
    peer.heartbeat = setTimeout(() => {
      this.#beat(peer);
      peer.heartbeat = setInterval(() => this.#beat(peer), HEARTBEAT_MS);
    }, FIRST_HEARTBEAT_MS);
  }

  /** The gateway leaves: ends every peer. */
  endAll(): void {
    for (const { ws } of [...this.#peers]) ws?.end(CloseCode.goingAway, 'this gateway is leaving');
  }

  closed(peer: EchoPeer): void {
    this.#peers.delete(peer);
    peer.ws = undefined;
    this.backlog.forget(peer);
    clearTimeout(peer.heartbeat);
  }

  received(peer: EchoPeer, ws: Socket, message: ArrayBuffer, isBinary: boolean): void {
    this.#sent(peer, ws.send(message, isBinary, false));
    // Within the engine's handler what is sent is queued only later, and the engine does not report it.
    this.backlog.note(peer);
  }

  drained(peer: EchoPeer, ws: Socket): void {
    this.backlog.note(peer);
    if (ws.getBufferedAmount() === 0) peer.queued = 0;
  }

  #beat(peer: EchoPeer) {
    const { ws } = peer;
    if (ws) this.#sent(peer, ws.send('heartbeat', false, false));
  }

  #sent(peer: EchoPeer, verdict: number) {
    if (verdict === SENT) peer.queued = 0;
    else {
      peer.queued++;
      this.backlog.note(peer);
    }
    if (verdict === DROPPED || peer.queued > MAX_QUEUED) setImmediate(() => this.#cut(peer));
  }

  /** Without a close frame, which would wait behind what is not read, and the engine would keep both. */
  #cut(peer: EchoPeer) {
    peer.ws?.close();
  }
}
