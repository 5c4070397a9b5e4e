import type { Msg, NatsConnection } from 'nats';
import { BusConnection, DEFAULT_MAX_PAYLOAD } from './busConnection.ts';
import type { RawConnection } from './dial.ts';
import type { DirectSubscription } from './directSubscription.ts';

/** No test waits for a receipt that long, milliseconds. */
const RECEIPT_TIMEOUT_MS = 60_000;

const PING = 'PING';

/** A connection of nats.js whose server answers PINGs at once, or when the test says so. */
export class FakeNatsConnection {
  /** As `dial` returns it. */
  readonly raw: RawConnection;
  readonly bus: BusConnection;
  /** Subjects of the messages that were published, and `PING` for each PING, in order. */
  readonly sent: string[] = [];
  readonly #subscribers = new Set<DirectSubscription>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  #holding = false;
  #pings: (() => void)[] = [];

  /** @param maxPayload bytes */
  constructor(maxPayload = DEFAULT_MAX_PAYLOAD) {
    const connection = {
      info: { max_payload: maxPayload },
      status: () => this.#statuses(),
      closed: () => this.#closed.promise,
      close: async () => this.#closed.resolve(),
      isClosed: () => false,
      getServer: () => 'fake:4222',
      publish: (subject: string) => this.sent.push(subject),
      flush: () => {
        this.sent.push(PING);
        return new Promise<void>((resolve) => (this.#holding ? this.#pings.push(resolve) : resolve()));
      },
    };
    this.raw = {
      connection: connection as unknown as NatsConnection,
      cut: () => {},
      subscribe: (subscription) => this.#subscribers.add(subscription),
      unsubscribe: (subscription) => this.#subscribers.delete(subscription),
    };
    this.bus = new BusConnection(this.raw, RECEIPT_TIMEOUT_MS, () => {});
  }

  /** Subjects of the messages that were published. */
  get published(): string[] {
    return this.sent.filter((subject) => subject !== PING);
  }

  /** Subjects that are subscribed at the server. */
  get subjects(): string[] {
    return [...this.#subscribers].map(({ subject }) => subject);
  }

  /** The connection breaks. */
  lose(): void {
    this.#closed.resolve();
  }

  /** The server says that it is about to shut down. */
  leave(): void {
    this.#left.resolve();
  }

  /** PINGs wait from now on. */
  hold(): void {
    this.#holding = true;
  }

  /** Answers the PINGs that wait, and each later one at once. */
  answer(): void {
    this.#holding = false;
    for (const resolve of this.#pings.splice(0)) resolve();
  }

  async *#statuses() {
    await this.#left.promise;
    yield { type: 'ldm', server: 'fake:4222' };
    await new Promise(() => {});
  }

  /** A message from the server. */
  deliver(subject: string, text: string): void {
    for (const subscriber of this.#subscribers)
      if (subscriber.subject === subject)
        subscriber.callback(null, { data: Buffer.from(text), subject } as unknown as Msg);
  }
}
