import {
  type Bus,
  type BusEvent,
  type BusMessage,
  BusUnavailable,
  BusUnconfirmed,
  checkSubject,
  type Handler,
  handlerOf,
  type Receiver,
  type Subscription,
} from './bus.ts';
import { type ErrorLog, EventListeners, guarded } from './eventListeners.ts';
import { type BusHeaders, headerBytes, type PublishedHeaders } from './headers.ts';

/** Bytes. The default of nats-server, so that what works in one process works on NATS. */
const MAX_PAYLOAD = 1_048_576;

type Message = BusMessage & { number: number; subject: string; bytes: Uint8Array };
type Subscriber = { since: number; tokens: readonly string[] | undefined; handler: Handler; active: boolean };

/** The in-process bus, for publishers and subscribers in one process. Delivers in the next turn of the event loop. */
export class LocalBus implements Bus {
  readonly maxPayload: number = MAX_PAYLOAD;
  readonly #listeners: EventListeners<BusEvent>;
  readonly #log: ErrorLog;
  /** By subject. Arrays are replaced, never changed, so that a handler may subscribe and unsubscribe. */
  readonly #exact = new Map<string, readonly Subscriber[]>();
  #wildcards: readonly Subscriber[] = [];
  #queue: Message[] = [];
  #published = 0;
  #delivery: Promise<void> | undefined;
  #open = true;

  /** @param log where errors of handlers are logged */
  constructor(log: ErrorLog = console) {
    this.#log = log;
    this.#listeners = new EventListeners(log);
  }

  get connected(): boolean {
    return this.#open;
  }

  publish(subject: string, bytes: Uint8Array, headers?: PublishedHeaders, reply?: string): void {
    if (!this.#open) throw new BusUnavailable('the bus is closed');
    const size = bytes.length + headerBytes(headers);
    if (size > MAX_PAYLOAD) throw new RangeError(`a message of ${size} bytes is over the limit of ${MAX_PAYLOAD}`);
    checkSubject(subject);
    const message = { number: ++this.#published, subject, bytes, headers: headers && new LocalHeaders(headers), reply };
    this.#queue.push(message);
    this.#delivery ??= new Promise((resolve) => setImmediate(() => resolve(this.#deliver())));
  }

  /** Resolves when the handlers have been called with all that was published before. */
  flush(): Promise<void> {
    if (!this.#open) return Promise.reject(new BusUnconfirmed('the bus is closed'));
    return this.#delivery ?? Promise.resolve();
  }

  subscribe(subject: string, handler: Handler | Receiver): Subscription {
    checkSubject(subject);
    if (!this.#open) return { ready: Promise.resolve(), unsubscribe() {} };
    const isWildcard = subject.split('.').includes('*');
    const subscriber: Subscriber = {
      since: this.#published,
      tokens: isWildcard ? subject.split('.') : undefined,
      handler: guarded(handlerOf(handler), this.#log),
      active: true,
    };
    if (isWildcard) this.#wildcards = [...this.#wildcards, subscriber];
    else this.#exact.set(subject, [...(this.#exact.get(subject) ?? []), subscriber]);
    return { ready: Promise.resolve(), unsubscribe: () => this.#remove(subject, subscriber) };
  }

  onEvent(listener: (event: BusEvent) => void): () => void {
    return this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    const delivered = this.flush();
    this.#open = false;
    await delivered;
    this.#exact.clear();
    this.#wildcards = [];
    this.#listeners.emit({ type: 'disconnected', reason: 'closed' });
  }

  #deliver(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#delivery = undefined;
    for (const message of queue) {
      for (const subscriber of this.#exact.get(message.subject) ?? [])
        if (subscriber.active && message.number > subscriber.since)
          subscriber.handler(message.bytes, message.subject, message);
      if (this.#wildcards.length === 0) continue;
      const tokens = message.subject.split('.');
      for (const subscriber of this.#wildcards)
        if (subscriber.active && message.number > subscriber.since && fits(subscriber.tokens ?? [], tokens))
          subscriber.handler(message.bytes, message.subject, message);
    }
  }

  #remove(subject: string, subscriber: Subscriber): void {
    subscriber.active = false;
    if (subscriber.tokens) {
      this.#wildcards = this.#wildcards.filter((other) => other !== subscriber);
      return;
    }
    const left = (this.#exact.get(subject) ?? []).filter((other) => other !== subscriber);
    if (left.length > 0) this.#exact.set(subject, left);
    else this.#exact.delete(subject);
  }
}

class LocalHeaders implements BusHeaders {
  readonly code = 0;
  readonly description = '';
  readonly #values: ReadonlyMap<string, string>;

  constructor(headers: PublishedHeaders) {
    this.#values = new Map(Object.entries(headers));
  }

  get(name: string): string {
    return this.#values.get(name) ?? '';
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  toString(): string {
    return JSON.stringify([...this.#values]);
  }
}

function fits(pattern: readonly string[], tokens: readonly string[]): boolean {
  return pattern.length === tokens.length && pattern.every((token, i) => token === '*' || token === tokens[i]);
}
