import { PermissionViolationError, type Status } from 'nats';
import { BusOverloaded, BusUnavailable, checkSubject, type Handler, MAX_UNCONFIRMED_BYTES } from './bus.ts';
import type { Line } from './dial.ts';
import { Receipts } from './receipts.ts';
import { type Asked, type Outcome, Subscribing } from './subscribing.ts';

/** What nats-server sends until it says otherwise. */
export const DEFAULT_MAX_PAYLOAD = 1_048_576;

/** A receipt is asked for after this many bytes, where nobody waits for one. */
const CONFIRM_EVERY_BYTES = 1_048_576;
/** What nats-server says at its limit of subscriptions, or an account's or a user's. The connection goes on. */
const TOO_MANY_SUBSCRIPTIONS = 'maximum subscriptions exceeded';
/** Counted for each message beside its payload: the subject and what holds it in memory. */
const MESSAGE_OVERHEAD_BYTES = 128;

/** What the server says of itself, and of what it refuses. */
export type LinkNotice =
  | { type: 'refused'; operation: 'publish' | 'subscription'; subject: string; message: string }
  | { type: 'error'; message: string }
  | { type: 'leaving' };

/** One NATS connection from its success to its loss. It is never mended: after its loss another is made. */
export class Link {
  /** Resolves with the reason of the loss. */
  readonly lost: Promise<string>;
  readonly receipts: Receipts;
  readonly #subscribing: Subscribing;
  readonly #line: Line;
  readonly #onNotice: (notice: LinkNotice) => void;
  readonly #lose: (reason: string) => void;
  #alive = true;
  #maxPayload: number;
  #lastError = '';
  /** Published in this turn of the loop: handed over together, so that they leave in one write. */
  #batch: { subject: string; bytes: Uint8Array }[] = [];
  #scheduled = false;
  #published = 0;
  #confirmed = 0;
  #confirming = 0;
  #asked = false;

  /** @param receiptTimeout milliseconds */
  constructor(line: Line, receiptTimeout: number, onNotice: (notice: LinkNotice) => void) {
    this.#line = line;
    this.#onNotice = onNotice;
    this.#maxPayload = line.connection.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.lost = promise;
    this.#lose = resolve;
    this.receipts = new Receipts(
      () => this.#ping(),
      receiptTimeout,
      () => this.end(`no receipt from the server within ${receiptTimeout} ms`),
    );
    this.#subscribing = new Subscribing({
      soon: queueMicrotask,
      whenAnswered: (callback) => this.receipts.whenAnswered(callback),
    });
    void this.#watch(line.connection.status());
    void line.connection.closed().then(() => this.end(this.#lastError || 'the connection was closed by the server'));
  }

  /** It has not ended. */
  get alive(): boolean {
    return this.#alive;
  }

  get maxPayload(): number {
    // A closed connection no longer tells.
    this.#maxPayload = this.#line.connection.info?.max_payload ?? this.#maxPayload;
    return this.#maxPayload;
  }

  get server(): string {
    return this.#line.connection.getServer();
  }

  publish(subject: string, bytes: Uint8Array): void {
    if (!this.#alive) throw new BusUnavailable('the connection to NATS is lost');
    checkPayload(bytes, this.maxPayload);
    if (this.#published - this.#confirmed > MAX_UNCONFIRMED_BYTES)
      throw new BusOverloaded(`the NATS server ${this.server} does not keep up: it has yet to confirm what was sent`);
    checkSubject(subject);
    this.#batch.push({ subject, bytes });
    this.#published += bytes.length + MESSAGE_OVERHEAD_BYTES;
    if (!this.#asked && this.#published - this.#confirming > CONFIRM_EVERY_BYTES) {
      this.#asked = true;
      this.receipts.whenAnswered(() => {
        this.#asked = false;
      });
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#handOver();
    });
  }

  /**
   * @param onOutcome called when the server has answered, and again where it takes back what it permitted
   * @returns ends the subscription
   */
  subscribe(subject: string, wild: boolean, handler: Handler, onOutcome: (outcome: Outcome) => void): () => void {
    if (!this.#alive || this.#line.connection.isClosed()) return () => {};
    let known = false;
    let end = () => {};
    const asked: Asked = {
      refused: false,
      send: () => {
        if (!this.#alive || this.#line.connection.isClosed()) return;
        // What was published before is not for this subscription.
        this.#handOver();
        const subscription = this.#line.connection.subscribe(subject, {
          callback: (error, message) => {
            // Without a wildcard the subject is known, and need not be decoded from each message.
            if (!error) return handler(message.data, wild ? message.subject : subject);
            asked.refused = true;
            if (known) onOutcome('refused');
          },
        });
        end = () => {
          if (this.#alive) subscription.unsubscribe();
        };
      },
      outcome: (outcome) => {
        known = true;
        onOutcome(outcome);
      },
    };
    this.#subscribing.ask(asked);
    return () => this.#subscribing.end(asked, () => end());
  }

  /** Calls back when the outcome of all subscriptions of before is known, or never where the connection ends. */
  whenSubscribed(callback: () => void): void {
    this.#subscribing.whenKnown(callback);
  }

  /** Ends the connection. What it still holds is not sent. */
  end(reason: string): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#batch = [];
    this.#line.cut();
    // Stops its timers; it waits for nothing, since the socket is gone.
    void this.#line.connection.close();
    this.receipts.end(`the connection to NATS was lost: ${reason}`);
    this.#lose(reason);
  }

  #handOver(): void {
    if (this.#batch.length === 0 || !this.#alive) return;
    const batch = this.#batch;
    this.#batch = [];
    const { connection } = this.#line;
    for (const { subject, bytes } of batch) {
      try {
        connection.publish(subject, bytes);
      } catch (error) {
        // Its limit shrank since, or it closed in this very turn.
        const message = error instanceof Error ? error.message : String(error);
        this.receipts.refuse(`a message on ${subject} was not sent: ${message}`);
        this.#onNotice({ type: 'error', message: `a message on ${subject} was not sent: ${message}` });
      }
    }
  }

  async #ping(): Promise<void> {
    this.#handOver();
    const upTo = this.#published;
    this.#confirming = upTo;
    await this.#line.connection.flush();
    this.#confirmed = upTo;
  }

  async #watch(statuses: AsyncIterable<Status>): Promise<void> {
    for await (const status of statuses) {
      switch (status.type) {
        case 'error':
          this.#onError(status.error);
          break;
        case 'ldm':
          this.#onNotice({ type: 'leaving' });
          break;
        case 'staleConnection':
          this.end(this.#lastError || 'the server did not answer pings');
          break;
        case 'disconnect':
          this.end(this.#lastError || 'the connection broke');
          break;
      }
    }
  }

  #onError(error: Error): void {
    if (error instanceof PermissionViolationError) {
      const { operation, subject, message } = error;
      if (operation === 'publish') this.receipts.refuse(`the NATS server refuses a publish on ${subject}: ${message}`);
      this.#onNotice({ type: 'refused', operation, subject, message });
      return;
    }
    if (error.message.includes(TOO_MANY_SUBSCRIPTIONS)) this.#subscribing.limitMet();
    this.#lastError = error.message;
    this.#onNotice({ type: 'error', message: error.message });
  }
}

/** Throws RangeError where a message is too large for the server. */
export function checkPayload(bytes: Uint8Array, maxPayload: number): void {
  if (bytes.length > maxPayload)
    throw new RangeError(`a message of ${bytes.length} bytes is over the server's max_payload of ${maxPayload}`);
}
