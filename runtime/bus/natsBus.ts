import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Validity } from '../certificateMetrics.ts';
import {
  type Bus,
  type BusEvent,
  BusUnavailable,
  BusUnconfirmed,
  checkSubject,
  type Handler,
  type Receiver,
  type Subscription,
} from './bus.ts';
import type { BusConnection } from './busConnection.ts';
import { CredentialFiles } from './credentialFiles.ts';
import { dial, parseServer } from './dial.ts';
import { EventListeners, handlerFailed } from './eventListeners.ts';
import type { PublishedHeaders } from './headers.ts';
import { NatsSubscription, type SubscriptionHooks } from './natsSubscription.ts';
import { ProblemLog } from './problemLog.ts';
import { Reconnector } from './reconnector.ts';
import { RefusedSubscriptions } from './refusedSubscriptions.ts';

export type NatsBusOptions = {
  log: Logger;
  /** Shown in the server's list of connections. */
  name: string;
  /** Milliseconds that a receipt may take; then the connection is dropped. 2 s if absent. */
  receiptTimeout?: number;
  /**
   * Many messages in a short time are read together, a few milliseconds late (ReadPacer). Not for those who wait for the
   * answer to one request after another.
   */
  isPaced?: boolean;
};

const RECEIPT_TIMEOUT_MS = 2_000;

/**
 * The bus on NATS. It connects in the background, without end. The reconnecting of nats.js is off, because nats.js keeps
 * what was published meanwhile and sends it later.
 */
export class NatsBus implements Bus {
  readonly #log: Logger;
  readonly #listeners: EventListeners<BusEvent>;
  readonly #subscriptions = new Set<NatsSubscription>();
  readonly #refused: RefusedSubscriptions<BusConnection>;
  readonly #reconnector: Reconnector;
  readonly #credentials: CredentialFiles;
  readonly #closing = new AbortController();
  readonly #hooks: SubscriptionHooks = {
    refused: (subscription) => {
      if (this.#refused.add(subscription)) subscription.changed(false);
    },
    inForce: (subscription) => {
      if (this.#refused.delete(subscription)) subscription.changed(true);
    },
    ended: (subscription) => {
      this.#subscriptions.delete(subscription);
      this.#refused.delete(subscription);
    },
    overlap: () => this.#reconnector.takeover?.overlap,
    failed: (error, subject) => handlerFailed(error, subject, this.#log),
  };

  /** Starts to connect. Throws if the settings cannot work: an address that is none, a file that cannot be read. */
  constructor(settings: z.infer<typeof NatsSettings>, options: NatsBusOptions) {
    const { log, name, receiptTimeout = RECEIPT_TIMEOUT_MS, isPaced } = options;
    const { signal } = this.#closing;
    const problems = new ProblemLog();
    this.#credentials = new CredentialFiles(settings, (problem) =>
      problems.report(problem, () => log.error({ problem }, 'a problem with the NATS credentials')),
    );
    this.#log = log;
    this.#listeners = new EventListeners(log);
    this.#refused = new RefusedSubscriptions(() =>
      this.#reconnector.connection && this.#reconnector.takingOver ? 'busy' : this.#reconnector.connection,
    );
    this.#reconnector = new Reconnector({
      servers: shuffled(settings.servers.map(parseServer)),
      dial: async (server) => dial(server, settings, { name, signal, isPaced, credentials: this.#credentials }),
      receiptTimeout,
      subscriptions: this.#subscriptions,
      onEvent: (event) => this.#listeners.emit(event),
      signal,
      log,
      problems,
    });
  }

  get connected(): boolean {
    return this.#reconnector.connected;
  }

  get maxPayload(): number {
    return this.#reconnector.maxPayload;
  }

  get certificate(): Validity | undefined {
    return this.#credentials.certificate;
  }

  get refused(): number {
    return this.#refused.size;
  }

  publish(subject: string, bytes: Uint8Array, headers?: PublishedHeaders, reply?: string): void {
    const { connected, connection, takeover } = this.#reconnector;
    if (!connected || !connection) throw new BusUnavailable(this.#absence());
    if (takeover?.publishing) takeover.hold({ subject, bytes, headers, reply }, this.maxPayload);
    else connection.publish(subject, bytes, headers, reply);
  }

  flush(): Promise<void> {
    const { connected, connection, takeover } = this.#reconnector;
    if (!connected || !connection) return Promise.reject(new BusUnconfirmed(this.#absence()));
    return takeover?.publishing?.then(() => this.flush()) ?? connection.receipts.confirmed();
  }

  subscribe(subject: string, handler: Handler | Receiver, onChange?: (inForce: boolean) => void): Subscription {
    checkSubject(subject);
    const subscription = new NatsSubscription(subject, handler, this.#hooks, onChange);
    if (this.#closing.signal.aborted) {
      subscription.settle();
    } else {
      const { connection, takeover } = this.#reconnector;
      this.#subscriptions.add(subscription);
      if (takeover) takeover.attach(subscription);
      else if (connection) subscription.attach(connection);
    }
    return subscription;
  }

  onEvent(listener: (event: BusEvent) => void): () => void {
    return this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      const sent = this.flush();
      this.#closing.abort();
      // Those who wait for what could not be confirmed learn it from their own flush.
      await sent.catch(() => {});
      this.#reconnector.connection?.end('closed');
    }
    await this.#reconnector.stopped;
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }

  #absence(): string {
    return this.#closing.signal.aborted ? 'the bus is closed' : 'there is no connection to NATS';
  }
}

/** So that not all processes connect to the same server first. */
function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}
