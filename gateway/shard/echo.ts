import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { Backlog } from './backlog.ts';
import { type Loop, systemLoop } from './broadcaster.ts';
import { DROPPED, SENT, type Socket } from './engine.ts';

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

export class EchoSession {
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
  /** Bytes that may wait for one peer: whichever of this and MAX_QUEUED comes first makes it slow. */
  readonly maxBuffer = 67_108_864;
  /** What waits for all peers, and how many bytes may. */
  readonly backlog: Backlog<EchoSession>;
  backlogBudget = Number.MAX_SAFE_INTEGER;
  readonly #sessions = new Set<EchoSession>();

  constructor(loop: Loop = systemLoop) {
    this.backlog = new Backlog({ loop, budget: () => this.backlogBudget, cut: ({ ws }) => ws?.close() });
  }

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
    session.ws = undefined;
    this.backlog.forget(session);
    clearTimeout(session.heartbeat);
  }

  received(session: EchoSession, ws: Socket, message: ArrayBuffer, isBinary: boolean): void {
    this.#sent(session, ws.send(message, isBinary, false));
    // Within the engine's handler what is sent is queued a little later, and nobody is told.
    this.backlog.note(session);
  }

  drained(session: EchoSession, ws: Socket): void {
    this.backlog.note(session);
    if (ws.getBufferedAmount() === 0) session.queued = 0;
  }

  #beat(session: EchoSession) {
    const { ws } = session;
    if (ws) this.#sent(session, ws.send('heartbeat', false, false));
  }

  #sent(session: EchoSession, verdict: number) {
    if (verdict === SENT) session.queued = 0;
    else {
      session.queued++;
      this.backlog.note(session);
    }
    if (verdict === DROPPED || session.queued > MAX_QUEUED) setImmediate(() => this.#cut(session));
  }

  /** Without a close code: it would wait behind what is not read, and the engine would keep both. */
  #cut(session: EchoSession) {
    session.ws?.close();
  }
}
