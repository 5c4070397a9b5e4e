import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { pause, systemClock } from '../clock.ts';
import {
  type Bus,
  type BusEvent,
  BusOverloaded,
  BusUnavailable,
  BusUnconfirmed,
  checkSubject,
  type Handler,
  MAX_UNCONFIRMED_BYTES,
  type Subscription,
} from './bus.ts';
import { CredentialFiles } from './credentials.ts';
import { dial, type Line, parseServer, type Server } from './dial.ts';
import { checkPayload, DEFAULT_MAX_PAYLOAD, Link, type LinkNotice } from './link.ts';
import { guarded, Listeners } from './listeners.ts';
import { Overlap } from './overlap.ts';

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
/**
 * When a server leaves, another connection is made and hears beside the old one for so long (milliseconds): a server of
 * the cluster learns of a subscription at another some moments after that has confirmed it.
 */
const OVERLAP_MS = 1_000;
/** Between the last publish on the old connection and the first on the new one: ways through the cluster differ. */
const PUBLISH_PAUSE_MS = 100;
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
  /** While another connection takes over. Resolves when it has, or could not. */
  #handover: Promise<void> | undefined;
  #overlap: Overlap<Link> | undefined;
  /** Published in the moment between two connections, and when that is over. */
  #pause: Pause | undefined;
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
    if (this.#pause) this.#keep(this.#pause, subject, bytes);
    else this.#link.publish(subject, bytes);
  }

  flush(): Promise<void> {
    if (!this.connected || !this.#link) return Promise.reject(new BusUnconfirmed(this.#absence()));
    if (!this.#pause) return this.#link.receipts.confirmed();
    return this.#pause.over.then(() => this.flush());
  }

  #keep(pause: Pause, subject: string, bytes: Uint8Array) {
    checkPayload(bytes, this.maxPayload);
    checkSubject(subject);
    if (pause.size > MAX_UNCONFIRMED_BYTES) throw new BusOverloaded('too much waits for another server to take over');
    pause.messages.push({ subject, bytes });
    pause.size += bytes.length;
  }

  get refused(): number {
    return this.#refused.size;
  }

  subscribe(subject: string, handler: Handler, onChange: (inForce: boolean) => void = () => {}): Subscription {
    checkSubject(subject);
    const subscription = new NatsSubscription(subject, guarded(handler, this.#log), () => this.#overlap, {
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
      if (this.#overlap) subscription.prepare(this.#overlap.next);
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
        if (this.#handover) return this.#retryRefused();
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
      await pause(systemClock, fullJitter(failures, BACKOFF.first, BACKOFF.longest), signal);
    }
  }

  /** One connection from its dialling to its loss. Resolves with the milliseconds that it lived. */
  async #serve(server: Server): Promise<number> {
    const { receiptTimeout = RECEIPT_TIMEOUT_MS } = this.#options;
    const { signal } = this.#closing;
    let line: Line;
    try {
      line = await this.#dial(server);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!signal.aborted)
        this.#complain(message, () =>
          this.#log.warn({ server: server.url, reason: message }, 'cannot connect to NATS, will try on'),
        );
      return 0;
    }
    const begun = performance.now();
    const link = new Link(line, receiptTimeout, (notice) => this.#onNotice(notice, server, link));
    if (signal.aborted) link.end('closed');
    this.#link = link;
    for (const subscription of this.#subscriptions) subscription.attach(link);
    link.whenSubscribed(() => this.#up(server));
    for (let current = link; ; ) {
      const reason = await current.lost;
      if (this.#handover) await this.#handover;
      if (this.#link === current || !this.#link) {
        this.#down(reason, server);
        return performance.now() - begun;
      }
      current = this.#link;
    }
  }

  /** Rejects too where the credentials can't be read. */
  async #dial(server: Server): Promise<Line> {
    const { signal } = this.#closing;
    return dial(server, this.#settings, {
      name: this.#options.name,
      signal,
      credentials: this.#credentials.read(),
    });
  }

  /** `old`'s server is about to leave: another takes over before it does, so that nothing is missed or refused. */
  async #handOver(old: Link, leaving: Server): Promise<void> {
    const { signal } = this.#closing;
    const { receiptTimeout = RECEIPT_TIMEOUT_MS } = this.#options;
    // It takes no new connections: an address that several servers share leads to another.
    const others = this.#servers.filter(({ url }) => url !== leaving.url);
    for (let turn = 0; !signal.aborted && old.alive; turn++) {
      const server = others.length > 0 ? others[turn % others.length]! : leaving;
      const line = await this.#dial(server).catch(() => undefined);
      if (!line) {
        await pause(systemClock, fullJitter(turn, BACKOFF.first, BACKOFF.longest), signal);
        continue;
      }
      const next: Link = new Link(line, receiptTimeout, (notice) => this.#onNotice(notice, server, next));
      if (old.alive && !signal.aborted && (await this.#overlapWith(old, next))) {
        await this.#switch(old, next);
        if (signal.aborted) next.end('closed');
        this.#log.info({ server: server.url, from: leaving.url }, 'another NATS server has taken over');
        return;
      }
      next.end('it could not take over');
    }
  }

  /** Has `next` hear beside `old`, and then in its place. False where one of them was lost too early for that. */
  async #overlapWith(old: Link, next: Link): Promise<boolean> {
    const overlap = new Overlap(next);
    this.#overlap = overlap;
    for (const subscription of this.#subscriptions) subscription.prepare(next);
    const subscribed = new Promise<void>((resolve) => next.whenSubscribed(resolve));
    await Promise.race([subscribed, old.lost, next.lost]);
    if (old.alive && next.alive) {
      await Promise.race([pause(systemClock, OVERLAP_MS, this.#closing.signal), overlap.full, old.lost, next.lost]);
      for (const subscription of this.#subscriptions) subscription.leave(next.alive);
      if (next.alive) {
        // What the old one's server had for us has come when it answers.
        await Promise.race([new Promise<void>((resolve) => old.whenSubscribed(resolve)), old.lost]);
        overlap.release();
        this.#overlap = undefined;
        return next.alive;
      }
    }
    this.#overlap = undefined;
    for (const subscription of this.#subscriptions) subscription.leave(false);
    return false;
  }

  /** From now on `next` publishes: after all that `old` has sent. */
  async #switch(old: Link, next: Link): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const kept: Pause = { messages: [], size: 0, over: promise };
    this.#pause = kept;
    if (old.alive) {
      await old.receipts.confirmed().catch(() => {});
      await pause(systemClock, PUBLISH_PAUSE_MS, this.#closing.signal);
    }
    this.#link = next;
    this.#pause = undefined;
    for (const { subject, bytes } of kept.messages) if (next.alive) next.publish(subject, bytes);
    resolve();
    old.end('another server has taken over');
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

  #onNotice(notice: LinkNotice, from: Server, link: Link): void {
    const server = from.url;
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
        if (link !== this.#link || !this.#connected) return;
        this.#handover ??= this.#handOver(link, from).finally(() => {
          this.#handover = undefined;
        });
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

type Pause = { messages: { subject: string; bytes: Uint8Array }[]; size: number; over: Promise<void> };
type SubscriptionHooks = { refused(): void; inForce(): void; ended(): void };

let subscriptions = 0;

class NatsSubscription implements Subscription {
  readonly ready: Promise<void>;
  readonly #number = ++subscriptions;
  readonly #subject: string;
  readonly #wild: boolean;
  readonly #handler: Handler;
  readonly #overlap: () => Overlap<Link> | undefined;
  readonly #hooks: SubscriptionHooks;
  readonly #resolve: () => void;
  #ended = false;
  #detach: (() => void) | undefined;
  /** Ends it on a connection that is to take over. */
  #detachNext: (() => void) | undefined;

  constructor(subject: string, handler: Handler, overlap: () => Overlap<Link> | undefined, hooks: SubscriptionHooks) {
    this.#subject = subject;
    this.#wild = subject.includes('*');
    this.#handler = handler;
    this.#overlap = overlap;
    this.#hooks = hooks;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#resolve = resolve;
  }

  /** Subscribes on a connection, or once more where it refused. */
  attach(link: Link): void {
    const detach = this.#subscribe(link);
    this.#detach?.();
    this.#detach = detach;
  }

  /** Subscribes on a connection that is to take over. */
  prepare(link: Link): void {
    this.#detachNext = this.#subscribe(link);
  }

  /** Ends it on the old connection where the other one takes over, or else on that. */
  leave(takenOver: boolean): void {
    if (takenOver) {
      this.#detach?.();
      this.#detach = this.#detachNext;
    } else this.#detachNext?.();
    this.#detachNext = undefined;
  }

  #subscribe(link: Link): () => void {
    const take: Handler = (bytes, subject) => {
      if (this.#ended) return;
      const overlap = this.#overlap();
      if (overlap) overlap.take(link, this.#number, this.#handler, bytes, subject);
      else this.#handler(bytes, subject);
    };
    const detach = link.subscribe(this.#subject, this.#wild, take, (outcome) => {
      if (this.#detach !== detach && this.#detachNext !== detach) return;
      if (outcome === 'refused') return this.#hooks.refused();
      this.#hooks.inForce();
      this.settle();
    });
    return detach;
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
    this.#ended = true;
    this.#hooks.ended();
    this.#detach?.();
    this.#detachNext?.();
    this.#detach = undefined;
    this.#detachNext = undefined;
    this.settle();
  }
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}
