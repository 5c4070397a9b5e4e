import { type MsgHdrs, headers as natsHeaders, PermissionViolationError, type PublishOptions, type Status } from 'nats';
import { BusOverloaded, BusUnavailable, checkSubject, MAX_UNCONFIRMED_BYTES } from './bus.ts';
import { ConnectionSubscription, type Subscriber } from './connectionSubscription.ts';
import type { RawConnection } from './dial.ts';
import type { DirectSubscription } from './directSubscription.ts';
import { headerBytes, type PublishedHeaders } from './headers.ts';
import { Receipts } from './receipts.ts';
import { SubscriptionGroups, type SubscriptionRequest } from './subscriptionGroups.ts';

/** nats-server's default, which holds until the server has told its own. */
export const DEFAULT_MAX_PAYLOAD = 1_048_576;

/** A receipt is requested after this many bytes even if nobody waits for one. */
const CONFIRM_EVERY_BYTES = 1_048_576;
/** nats-server's error at its limit of subscriptions, or an account's or a user's. The connection stays open. */
const TOO_MANY_SUBSCRIPTIONS = 'maximum subscriptions exceeded';
/** Counted for each message in addition to its payload and headers: its subject and the objects that hold it in memory. */
const MESSAGE_OVERHEAD_BYTES = 128;

/** Subjects of requests that are remembered at most. */
const MAX_REQUESTS = 10_000;

/** A message to publish, as the parameters of Bus.publish() give it. */
export type Outgoing = {
  subject: string;
  bytes: Uint8Array;
  headers: PublishedHeaders | undefined;
  reply: string | undefined;
};

/** What a server says about itself, or refuses. */
export type ServerNotice =
  | { type: 'refused'; operation: 'publish' | 'subscription'; subject: string; message: string }
  | { type: 'error'; message: string }
  /** Lame duck mode: the server is about to shut down. */
  | { type: 'leaving' };

/** One NATS connection, from its success to its loss. It never reconnects: another BusConnection replaces it. */
export class BusConnection {
  /** Resolves with the reason of the loss. */
  readonly lost: Promise<string>;
  readonly receipts: Receipts;
  readonly #subscriptions: SubscriptionGroups;
  readonly #raw: RawConnection;
  readonly #onNotice: (notice: ServerNotice) => void;
  readonly #lose: (reason: string) => void;
  #alive = true;
  #maxPayload: number;
  #lastError = '';
  /** Published in this turn of the event loop: passed on together, so that they leave in one write. */
  #batch: Outgoing[] = [];
  /** Subjects of the latest requests: those that a server may be about to refuse. */
  readonly #requests = new Set<string>();
  #scheduled = false;
  // Bytes published so far, and how many of them the last receipt confirmed and the pending one will confirm.
  #published = 0;
  #confirmed = 0;
  #confirming = 0;
  /** A receipt was requested because of CONFIRM_EVERY_BYTES. */
  #receiptRequested = false;

  /** @param receiptTimeout milliseconds */
  constructor(raw: RawConnection, receiptTimeout: number, onNotice: (notice: ServerNotice) => void) {
    this.#raw = raw;
    this.#onNotice = onNotice;
    this.#maxPayload = raw.connection.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.lost = promise;
    this.#lose = resolve;
    this.receipts = new Receipts(
      () => this.#ping(),
      receiptTimeout,
      () => this.end(`no receipt from the server within ${receiptTimeout} ms`),
    );
    this.#subscriptions = new SubscriptionGroups({
      soon: queueMicrotask,
      whenAnswered: (callback) => this.receipts.whenAnswered(callback),
    });
    void this.#watch(raw.connection.status());
    void raw.connection.closed().then(() => this.end(this.#lastError || 'the connection was closed by the server'));
  }

  /** It has not ended. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Bytes. */
  get maxPayload(): number {
    // A closed connection has no info.
    this.#maxPayload = this.#raw.connection.info?.max_payload ?? this.#maxPayload;
    return this.#maxPayload;
  }

  get server(): string {
    return this.#raw.connection.getServer();
  }

  /** As Bus.publish(). */
  publish(subject: string, bytes: Uint8Array, headers?: PublishedHeaders, reply?: string): void {
    if (!this.#alive) throw new BusUnavailable('the connection to NATS is lost');
    const size = countedBytes(bytes, headers, this.maxPayload);
    if (this.#published - this.#confirmed > MAX_UNCONFIRMED_BYTES)
      throw new BusOverloaded(
        `the NATS server ${this.server} is too slow: ${MAX_UNCONFIRMED_BYTES} bytes wait for its receipt`,
      );
    checkSubject(subject);
    if (reply !== undefined) {
      if (this.#requests.size >= MAX_REQUESTS) this.#requests.clear();
      this.#requests.add(subject);
    }
    this.#batch.push({ subject, bytes, headers, reply });
    this.#published += size;
    if (!this.#receiptRequested && this.#published - this.#confirming > CONFIRM_EVERY_BYTES) {
      this.#receiptRequested = true;
      this.receipts.whenAnswered(() => {
        this.#receiptRequested = false;
      });
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      // The PING of this turn leaves in the same write.
      this.receipts.send();
      this.#sendBatch();
    });
  }

  /** Subscribes for `subscriber`, until `end()` of what it returns. */
  subscribe(subscriber: Subscriber<BusConnection>): ConnectionSubscription<BusConnection> {
    const subscription = new ConnectionSubscription<BusConnection>(this, subscriber);
    if (this.#alive) this.#subscriptions.add(subscription);
    return subscription;
  }

  /** Sends a subscription: SubscriptionGroups says when. */
  send(subscription: DirectSubscription): void {
    if (!this.#alive) return;
    // Messages published before are not for this subscription.
    this.#sendBatch();
    this.#raw.subscribe(subscription);
  }

  /** Ends a subscription, sent or not. */
  unsubscribe(subscription: DirectSubscription & SubscriptionRequest): void {
    this.#subscriptions.end(subscription, () => {
      if (this.#alive) this.#raw.unsubscribe(subscription);
    });
  }

  /** Calls back when the outcome of all earlier subscriptions is known, or never if the connection ends first. */
  whenSubscribed(callback: () => void): void {
    this.#subscriptions.whenKnown(callback);
  }

  /** Ends the connection. Nothing that is still queued is sent. */
  end(reason: string): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#batch = [];
    this.#raw.cut();
    // Stops its timers. It waits for nothing, since the socket is gone.
    void this.#raw.connection.close();
    this.receipts.end(`the connection to NATS was lost: ${reason}`);
    this.#lose(reason);
  }

  #sendBatch(): void {
    if (this.#batch.length === 0 || !this.#alive) return;
    const batch = this.#batch;
    this.#batch = [];
    const { connection } = this.#raw;
    for (const { subject, bytes, headers, reply } of batch) {
      try {
        if (headers || reply) connection.publish(subject, bytes, publishOptions(headers, reply));
        else connection.publish(subject, bytes);
      } catch (error) {
        // The server's limit shrank meanwhile, or the connection closed in this very turn.
        const message = error instanceof Error ? error.message : String(error);
        this.receipts.refuse(`a message on ${subject} was not sent: ${message}`);
        this.#onNotice({ type: 'error', message: `a message on ${subject} was not sent: ${message}` });
      }
    }
  }

  async #ping(): Promise<void> {
    this.#sendBatch();
    const upTo = this.#published;
    this.#confirming = upTo;
    await this.#raw.connection.flush();
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
      // A request fails by itself, without an answer. Others who publish are not concerned.
      if (operation === 'publish' && !this.#requests.has(subject))
        this.receipts.refuse(`the NATS server refuses a publish on ${subject}: ${message}`);
      this.#onNotice({ type: 'refused', operation, subject, message });
      return;
    }
    if (error.message.includes(TOO_MANY_SUBSCRIPTIONS)) this.#subscriptions.limitReached();
    this.#lastError = error.message;
    this.#onNotice({ type: 'error', message: error.message });
  }
}

/**
 * Bytes that a message counts towards MAX_UNCONFIRMED_BYTES: payload, headers and overhead. Throws RangeError if payload
 * and headers are more than the server takes, TypeError if a header can't be sent as it is.
 */
export function countedBytes(bytes: Uint8Array, headers: PublishedHeaders | undefined, maxPayload: number): number {
  const size = bytes.length + headerBytes(headers);
  if (size > maxPayload)
    throw new RangeError(`a message of ${size} bytes is over the server's max_payload of ${maxPayload}`);
  return size + MESSAGE_OVERHEAD_BYTES;
}

function publishOptions(headers: PublishedHeaders | undefined, reply: string | undefined): PublishOptions {
  return { ...(headers ? { headers: natsHeadersOf(headers) } : {}), ...(reply ? { reply } : {}) };
}

function natsHeadersOf(published: PublishedHeaders): MsgHdrs {
  const headers = natsHeaders();
  for (const [name, value] of Object.entries(published)) headers.set(name, value);
  return headers;
}
