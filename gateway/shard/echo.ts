import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { Socket } from './session.ts';

/** Messages that may wait for a slow peer of the echo (contract, section 2). */
const MAX_QUEUED = 1_000;
const HEARTBEAT_MS = 1_000;
/**
 * The first comes this late: the Autobahn testsuite has cases that pause for up to 2 s within a message (5.19, 5.20, 6.4),
 * and fails them where anything but their echo arrives.
 */
const FIRST_HEARTBEAT_MS = 2_300;
/** Peers at most: it is for diagnosis, and they count in no limit of the gateway's. */
const MAX_PEERS = 256;

export type EchoSession = { queued: number; ws?: Socket; heartbeat?: NodeJS.Timeout };

/** The diagnostic echo at `/ws`: a heartbeat every second, and every message sent back as it came. */
export class Echo {
  /** Bytes that may wait for one peer: whichever of this and MAX_QUEUED comes first makes it slow. */
  readonly maxBuffer = 67_108_864;
  readonly #sessions = new Set<EchoSession>();

  /** Whether one more peer is served. */
  get hasRoom(): boolean {
    return this.#sessions.size < MAX_PEERS;
  }

  get peers(): number {
    return this.#sessions.size;
  }

  opened(session: EchoSession, ws: Socket): void {
    session.ws = ws;
    this.#sessions.add(session);
    session.heartbeat = setTimeout(() => {
      this.#beat(session);
      session.heartbeat = setInterval(() => this.#beat(session), HEARTBEAT_MS);
    }, FIRST_HEARTBEAT_MS);
  }

  /** The gateway leaves. */
  endAll(): void {
    for (const { ws } of [...this.#sessions]) ws?.end(CloseCode.goingAway, 'this gateway is leaving');
  }

  closed(session: EchoSession): void {
    this.#sessions.delete(session);
    delete session.ws;
    clearTimeout(session.heartbeat);
  }

  received(session: EchoSession, ws: Socket, message: ArrayBuffer, isBinary: boolean): void {
    this.#sent(session, ws, ws.send(message, isBinary, false));
  }

  drained(session: EchoSession, ws: Socket): void {
    if (ws.getBufferedAmount() === 0) session.queued = 0;
  }

  #beat(session: EchoSession) {
    const { ws } = session;
    if (ws) this.#sent(session, ws, ws.send('heartbeat', false, false));
  }

  /** `verdict` is the engine's: 1 sent, 0 queued, 2 dropped. */
  #sent(session: EchoSession, ws: Socket, verdict: number) {
    if (verdict === 1) session.queued = 0;
    else session.queued++;
    if (verdict === 2 || session.queued > MAX_QUEUED) setImmediate(() => this.#cut(session, ws));
  }

  #cut(session: EchoSession, ws: Socket) {
    if (session.ws) ws.end(CloseCode.slowConsumer, 'reads too slowly');
  }
}
