import { setTimeout } from 'node:timers/promises';
import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { fullJitter } from './backoff.ts';
import {
  type Bus,
  type BusEvent,
  BusUnavailable,
  BusUnconfirmed,
  checkSubject,
  type Handler,
  type Subscription,
} from './bus.ts';
import { CredentialFiles } from './credentials.ts';
import { dial, type Line, parseServer, type Server } from './dial.ts';
import { DEFAULT_MAX_PAYLOAD, Link, type LinkNotice } from './link.ts';
import { guarded, Listeners } from './listeners.ts';

export type NatsBusOptions = {
  log: Logger;
  /** Shown in NATS' own lists of connections. */
  name: string;
  /** Milliseconds that a receipt may take; then the connection is dropped. */
  receiptTimeout?: number;
};

const RECEIPT_TIMEOUT_MS = 2_000;
/** Milliseconds: bounds of the wait between attempts. */
const BACKOFF = { first: 100, longest: 2_000 };
/** A connection that lived this long (milliseconds) was a good one: the back-off starts anew. */
const GOOD_CONNECTION_MS = 2_000;
/** What the server refused is asked for again after so long (milliseconds), so many at a time at first. */
const RETRY_REFUSED_MS = 1_000;
const FEWEST_RETRIED = 8;
/** The same complaint is logged again after this long (milliseconds). */
const REPEAT_LOG_MS = 30_000;

/**
 * The bus on NATS. It connects in the background, for ever: nats.js's own reconnecting is off, since that keeps what
 * was published meanwhile and sends it later. Each loss is followed by a fresh connection that knows nothing of the old.
 */
export class NatsBus implements Bus {
  readonly #settings: z.infer<typeof NatsSettings>;
  readonly #options: NatsBusOptions;
  readonly #log: Logger;
  readonly #servers: Server[];
  readonly #listeners: Listeners<BusEvent>;
  readonly #subscriptions = new Set<NatsSubscription>();
  readonly #closing = new AbortController();
  readonly #stopped: Promise<void>;
  readonly #logged = new Map<string, number>();
  readonly #credentials: CredentialFiles;
  /** In the order in which they are asked for again. */
  readonly #refused = new Set<NatsSubscription>();
  #retry: NodeJS.Timeout | undefined;
  #budget = FEWEST_RETRIED;
  /** The present connection; while it is being set up, not yet `#connected`. */
  #link: Link | undefined;
  #connected = false;
  #connections = 0;
  #maxPayload = DEFAULT_MAX_PAYLOAD;

  /** Starts to connect. Throws where the settings can't work: an address that is none, a file that can't be read. */
  constructor(settings: z.infer<typeof NatsSettings>, options: NatsBusOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#log = options.log;
    this.#listeners = new Listeners(options.log);
    this.#servers = shuffled(settings.servers.map(parseServer));
    this.#credentials = new CredentialFiles(settings, (problem) =>
      this.#complain(problem, () => this.#log.error({ problem }, 'credentials for NATS')),
    );
    this.#stopped = this.#run();
  }

  get connected(): boolean {
    return this.#connected && !this.#closing.signal.aborted;
  }

  get maxPayload(): number {
    return this.#link?.maxPayload ?? this.#maxPayload;
  }

  publish(subject: string, bytes: Uint8Array): void {
    if (!this.connected || !this.#link) throw new BusUnavailable(this.#absence());
    this.#link.publish(subject, bytes);
  }

  flush(): Promise<void> {
    if (!this.connected || !this.#link) return Promise.reject(new BusUnconfirmed(this.#absence()));
    return this.#link.receipts.confirmed();
  }

  get refused(): number {
    return this.#refused.size;
  }

  subscribe(subject: string, handler: Handler, onChange: (inForce: boolean) => void = () => {}): Subscription {
    checkSubject(subject);
    const subscription = new NatsSubscription(subject, guarded(handler, this.#log), {
      refused: () => {
        if (!this.#refused.has(subscription)) onChange(false);
        this.#refused.add(subscription);
        this.#budget = FEWEST_RETRIED;
        this.#retryRefused();
      },
      inForce: () => {
        if (this.#refused.delete(subscription)) onChange(true);
      },
      ended: () => {
        this.#subscriptions.delete(subscription);
        this.#refused.delete(subscription);
      },
    });
    if (this.#closing.signal.aborted) {
      subscription.settle();
    } else {
      this.#subscriptions.add(subscription);
      if (this.#link) subscription.attach(this.#link);
    }
    return subscription;
  }

  /** Asks again for some of what was refused; for more each time while nothing is refused. */
  #retryRefused() {
    this.#retry ??= globalThis
      .setTimeout(() => {
        this.#retry = undefined;
        const link = this.#link;
        if (this.#refused.size === 0 || !link) return;
        const some = [...this.#refused].slice(0, this.#budget);
        this.#budget *= 2;
        for (const subscription of some) {
          // To the end of the line: the others have their turn too.
          this.#refused.delete(subscription);
          this.#refused.add(subscription);
          subscription.attach(link);
        }
        link.whenSubscribed(() => this.#retryRefused());
      }, RETRY_REFUSED_MS)
      .unref();
  }

  onEvent(listener: (event: BusEvent) => void): () => void {
    return this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      const sent = this.flush();
      this.#closing.abort();
      // Whoever waits for what could not be confirmed is told by their own flush.
      await sent.catch(() => {});
      this.#link?.end('closed');
    }
    await this.#stopped;
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    for (let turn = 0; !signal.aborted; turn++) {
      const lived = await this.#serve(this.#servers[turn % this.#servers.length]!);
      failures = lived > GOOD_CONNECTION_MS ? 0 : failures + 1;
      await pause(fullJitter(failures, BACKOFF), signal);
    }
  }

  /** One connection from its dialling to its loss. Resolves with the milliseconds that it lived. */
  async #serve(server: Server): Promise<number> {
    const { name, receiptTimeout = RECEIPT_TIMEOUT_MS } = this.#options;
    const { signal } = this.#closing;
    let line: Line;
    try {
      line = await dial(server, this.#settings, { name, signal, credentials: this.#credentials.read() });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!signal.aborted)
        this.#complain(message, () =>
          this.#log.warn({ server: server.url, reason: message }, 'cannot connect to NATS, will try on'),
        );
      return 0;
    }
    const begun = performance.now();
    const link = new Link(line, receiptTimeout, (notice) => this.#onNotice(notice, server));
    if (signal.aborted) link.end('closed');
    this.#link = link;
    for (const subscription of this.#subscriptions) subscription.attach(link);
    link.whenSubscribed(() => this.#up(server));
    this.#down(await link.lost, server);
    return performance.now() - begun;
  }

  #up(server: Server): void {
    this.#connected = true;
    const reconnects = this.#connections++;
    this.#logged.clear();
    this.#log.info({ server: server.url, subscriptions: this.#subscriptions.size, reconnects }, 'connected to NATS');
    this.#listeners.emit({ type: 'connected', reconnects });
  }

  #down(reason: string, server: Server): void {
    this.#maxPayload = this.#link?.maxPayload ?? this.#maxPayload;
    this.#link = undefined;
    for (const subscription of this.#subscriptions) subscription.lost();
    const closing = this.#closing.signal.aborted;
    if (!closing)
      this.#complain(reason, () => this.#log.warn({ server: server.url, reason }, 'lost the connection to NATS'));
    if (!this.#connected) return;
    this.#connected = false;
    this.#listeners.emit({ type: 'disconnected', reason });
  }

  #onNotice(notice: LinkNotice, { url: server }: Server): void {
    switch (notice.type) {
      case 'refused': {
        const { operation, subject, message } = notice;
        const denied = `NATS does not permit this process the ${operation} of a subject: grant it to its user, or correct bus.prefix`;
        this.#complain(`${operation} refused`, () =>
          this.#log.error({ server, subject, operation, reason: message }, denied),
        );
        return;
      }
      case 'error':
        this.#complain(notice.message, () =>
          this.#log.error({ server, reason: notice.message }, 'the NATS server complains'),
        );
        return;
      case 'leaving':
        this.#log.info({ server }, 'the NATS server is about to leave');
        return;
    }
  }

  /** Logs unless the same was logged a moment ago: what recurs at every attempt or message is said now and then. */
  #complain(key: string, log: () => void): void {
    const now = performance.now();
    const last = this.#logged.get(key);
    if (last !== undefined && now - last < REPEAT_LOG_MS) return;
    if (this.#logged.size >= 64) this.#logged.clear();
    this.#logged.set(key, now);
    log();
  }

  #absence(): string {
    return this.#closing.signal.aborted ? 'the bus is closed' : 'there is no connection to NATS';
  }
}

type SubscriptionHooks = { refused(): void; inForce(): void; ended(): void };

class NatsSubscription implements Subscription {
  readonly ready: Promise<void>;
  readonly #subject: string;
  readonly #wild: boolean;
  readonly #handler: Handler;
  readonly #hooks: SubscriptionHooks;
  readonly #resolve: () => void;
  #detach: (() => void) | undefined;

  constructor(subject: string, handler: Handler, hooks: SubscriptionHooks) {
    this.#subject = subject;
    this.#wild = subject.includes('*');
    this.#handler = handler;
    this.#hooks = hooks;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#resolve = resolve;
  }

  /** Subscribes on a connection, or once more where it refused. */
  attach(link: Link): void {
    const detach = link.subscribe(this.#subject, this.#wild, this.#handler, (outcome) => {
      if (this.#detach !== detach) return;
      if (outcome === 'refused') return this.#hooks.refused();
      this.#hooks.inForce();
      this.settle();
    });
    this.#detach?.();
    this.#detach = detach;
  }

  /** The connection is gone. */
  lost(): void {
    this.#detach = undefined;
  }

  /** There is nothing more to wait for. */
  settle(): void {
    this.#resolve();
  }

  unsubscribe(): void {
    this.#hooks.ended();
    this.#detach?.();
    this.#detach = undefined;
    this.settle();
  }
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** Waits, but not beyond `signal`. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => {});
}
