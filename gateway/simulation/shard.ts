import { DROPPED, SENT, type Socket } from '../shard/engine.ts';
import type { Loop } from '../shard/loop.ts';

const QUEUED = 0;
/** For sessions of no shard. */
export const NO_BACKLOG = { note: () => {} };

/** An event loop whose turns and time a test decides on. */
export class FakeLoop implements Loop {
  /** Milliseconds. */
  time = 0;
  #turns: (() => void)[] = [];

  now(): number {
    return this.time;
  }

  soon(run: () => void): void {
    this.#turns.push(run);
  }

  after(ms: number, run: () => void): () => void {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  }

  /** Runs what was scheduled for the next turn; false where nothing was. */
  turn(): boolean {
    const turns = this.#turns;
    this.#turns = [];
    for (const run of turns) run();
    return turns.length > 0;
  }

  /** Runs turn after turn until nothing is scheduled. */
  idle(): void {
    for (let left = 100_000; this.turn(); left--) if (left === 0) throw new Error('the loop never comes to rest');
  }
}

export type SentMessage = { bytes: Buffer; binary: boolean };

/**
 * A socket as the engine shows it: it queues up to `capacity` messages that its peer does not read, and drops the
 * rest.
 */
export class FakeSocket implements Socket {
  readonly sent: SentMessage[] = [];
  ended: { code: number | undefined; reason: string | undefined } | undefined;
  /** Whether its peer reads. */
  reading = true;
  /** Called when it is closed from this side: the engine tells the close at once. */
  onEnd: (code: number) => void = () => {};
  /** Called at each send. */
  onSend: () => void = () => {};
  readonly #capacity: number;
  #queued = 0;

  constructor(capacity = Number.POSITIVE_INFINITY) {
    this.#capacity = capacity;
  }

  send(message: string | Uint8Array | ArrayBuffer, isBinary = false): number {
    if (this.ended) throw new Error('Invalid access of closed uWS.WebSocket');
    this.onSend();
    if (this.#queued >= this.#capacity) return DROPPED;
    const bytes = typeof message === 'string' ? Buffer.from(message) : Buffer.from(new Uint8Array(message));
    this.sent.push({ bytes, binary: isBinary });
    if (this.reading) return SENT;
    this.#queued++;
    return QUEUED;
  }

  end(code?: number, reason?: string): void {
    if (this.ended) throw new Error('Invalid access of closed uWS.WebSocket');
    this.ended = { code, reason };
    this.onEnd(code ?? 1005);
  }

  close(): void {
    if (this.ended) throw new Error('Invalid access of closed uWS.WebSocket');
    this.ended = { code: 1006, reason: undefined };
    this.onEnd(1006);
  }

  getBufferedAmount(): number {
    return this.#queued;
  }

  /** The peer reads so many of the messages that are queued. The engine's drain event is the caller's to make. */
  drain(messages = Number.POSITIVE_INFINITY): void {
    this.#queued = Math.max(0, this.#queued - messages);
  }

  /** The texts that it was sent. */
  get texts(): string[] {
    return this.sent.map(({ bytes }) => bytes.toString());
  }

  /** The frames that it was sent, parsed. */
  get frames(): { type: string; id?: unknown; data: Record<string, unknown> }[] {
    return this.texts.map((text) => JSON.parse(text));
  }
}
