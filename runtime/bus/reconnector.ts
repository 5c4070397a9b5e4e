import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import type { Logger } from 'pino';
import { pause, systemClock } from '../clock.ts';
import type { BusEvent } from './bus.ts';
import { BusConnection, DEFAULT_MAX_PAYLOAD, type ServerNotice } from './busConnection.ts';
import type { RawConnection, Server } from './dial.ts';
import type { NatsSubscription } from './natsSubscription.ts';
import type { ProblemLog } from './problemLog.ts';
import { Takeover } from './takeover.ts';

/** Limits of the wait between two attempts, milliseconds. */
const BACKOFF = { first: 100, longest: 2_000 };
/** A connection that lasted this long (milliseconds) counts as a success: the back-off starts again. */
const SUCCESS_MS = 2_000;

export type ReconnectorOptions = {
  /** Dialled in this order, over and over. */
  servers: readonly Server[];
  /** Connects to a server once. Also rejects if the credentials cannot be used. */
  dial(server: Server): Promise<RawConnection>;
  /** Milliseconds. */
  receiptTimeout: number;
  /** Each connection gets these subscriptions. */
  subscriptions: ReadonlySet<NatsSubscription>;
  onEvent(event: BusEvent): void;
  /** Aborts when the bus is closed. */
  signal: AbortSignal;
  log: Logger;
  problems: ProblemLog;
};

/**
 * Connects to NATS, in the background and without end: servers in turn, with back-off. A connection that is lost is
 * replaced by a new one that knows nothing of it. One whose server is about to shut down is replaced before that.
 */
export class Reconnector {
  /** Resolves after the signal has aborted and the connection has ended. */
  readonly stopped: Promise<void>;
  readonly #options: ReconnectorOptions;
  /** The present connection. While it is set up, `#connected` is still false. */
  #connection: BusConnection | undefined;
  #takeover: Takeover | undefined;
  /** Resolves when another connection has taken over, or could not. */
  #takingOver: Promise<void> | undefined;
  /** The servers of connections; of those that are about to shut down, `isLeaving` is true. */
  readonly #serverOf = new WeakMap<BusConnection, { server: Server; isLeaving: boolean }>();
  #connected = false;
  #connections = 0;
  #maxPayload = DEFAULT_MAX_PAYLOAD;

  constructor(options: ReconnectorOptions) {
    this.#options = options;
    this.stopped = this.#run();
  }

  get connection(): BusConnection | undefined {
    return this.#connection;
  }

  /** There is a connection, and its server knows of all subscriptions. */
  get connected(): boolean {
    return this.#connected && !this.#options.signal.aborted;
  }

  /** Of the present server, or of the last one. Bytes. */
  get maxPayload(): number {
    return this.#connection?.maxPayload ?? this.#maxPayload;
  }

  /** Present while another connection takes over. */
  get takeover(): Takeover | undefined {
    return this.#takeover;
  }

  /** True from the server's notice that it is leaving until another connection has taken over, or could not. */
  get takingOver(): boolean {
    return this.#takingOver !== undefined;
  }

  async #run(): Promise<void> {
    const { servers, signal } = this.#options;
    let failures = 0;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const lasted = await this.#connect(servers[attempt % servers.length]!);
      failures = lasted > SUCCESS_MS ? 0 : failures + 1;
      await pause(systemClock, fullJitter(failures, BACKOFF.first, BACKOFF.longest), signal);
    }
  }

  /** One connection from dialling to its loss, with those that take over from it. Resolves with the milliseconds it lasted. */
  async #connect(server: Server): Promise<number> {
    const { dial, subscriptions, signal, log, problems } = this.#options;
    let raw: RawConnection;
    try {
      raw = await dial(server);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!signal.aborted)
        problems.report(message, () =>
          log.warn({ server: server.url, reason: message }, 'cannot connect to NATS, will retry'),
        );
      return 0;
    }
    const began = systemClock.now();
    const connection = this.#open(raw, server);
    if (signal.aborted) connection.end('closed');
    this.#connection = connection;
    for (const subscription of subscriptions) subscription.attach(connection);
    connection.whenSubscribed(() => this.#up(server));
    for (let current = connection; ; ) {
      const reason = await current.lost;
      while (this.#takingOver) await this.#takingOver;
      if (this.#connection === current || !this.#connection) {
        this.#down(reason, this.#serverOf.get(current)?.server ?? server);
        return systemClock.now() - began;
      }
      current = this.#connection;
    }
  }

  #open(raw: RawConnection, server: Server): BusConnection {
    const connection: BusConnection = new BusConnection(raw, this.#options.receiptTimeout, (notice) =>
      this.#onNotice(notice, server, connection),
    );
    this.#serverOf.set(connection, { server, isLeaving: false });
    return connection;
  }

  /** Has the present connection replaced if its server is about to shut down. Call it when either of the two has changed. */
  #replaceIfLeaving(): void {
    const connection = this.#connection;
    if (!connection?.alive || !this.#connected || this.#takingOver) return;
    const place = this.#serverOf.get(connection);
    if (!place?.isLeaving) return;
    this.#takingOver = this.#replace(connection, place.server).finally(() => {
      this.#takingOver = undefined;
      this.#replaceIfLeaving();
    });
  }

  /** The server of `old` is about to shut down: connects to another one before it does. */
  async #replace(old: BusConnection, leaving: Server): Promise<void> {
    const { servers, dial, subscriptions, signal, log } = this.#options;
    // The leaving server takes no new connections. If it is the only address, several servers may share it.
    const others = servers.filter(({ url }) => url !== leaving.url);
    for (let attempt = 0; !signal.aborted && old.alive; attempt++) {
      const server = others.length > 0 ? others[attempt % others.length]! : leaving;
      const raw = await dial(server).catch(() => undefined);
      if (!raw) {
        await pause(systemClock, fullJitter(attempt, BACKOFF.first, BACKOFF.longest), signal);
        continue;
      }
      const next = this.#open(raw, server);
      const takeover = new Takeover(old, next, subscriptions, signal);
      this.#takeover = takeover;
      if (old.alive && !signal.aborted && (await takeover.receive())) {
        await takeover.publish(() => {
          this.#connection = next;
        });
        this.#takeover = undefined;
        if (signal.aborted) next.end('closed');
        log.info({ server: server.url, from: leaving.url }, 'another NATS server has taken over');
        return;
      }
      this.#takeover = undefined;
      next.end('it could not take over');
    }
  }

  #up(server: Server): void {
    const { log, problems, subscriptions, onEvent } = this.#options;
    this.#connected = true;
    const reconnects = this.#connections++;
    problems.reset();
    log.info({ server: server.url, subscriptions: subscriptions.size, reconnects }, 'connected to NATS');
    onEvent({ type: 'connected', reconnects });
    this.#replaceIfLeaving();
  }

  #down(reason: string, server: Server): void {
    const { log, problems, subscriptions, signal, onEvent } = this.#options;
    this.#maxPayload = this.maxPayload;
    this.#connection = undefined;
    for (const subscription of subscriptions) subscription.lost();
    if (!signal.aborted)
      problems.report(reason, () => log.warn({ server: server.url, reason }, 'lost the connection to NATS'));
    if (!this.#connected) return;
    this.#connected = false;
    onEvent({ type: 'disconnected', reason });
  }

  #onNotice(notice: ServerNotice, from: Server, connection: BusConnection): void {
    const { log, problems } = this.#options;
    const server = from.url;
    switch (notice.type) {
      case 'refused': {
        const { operation, subject, message } = notice;
        const denied = `NATS does not permit this process the ${operation} of a subject: grant it to its user, or correct bus.prefix`;
        problems.report(`${operation} refused`, () =>
          log.error({ server, subject, operation, reason: message }, denied),
        );
        return;
      }
      case 'error':
        problems.report(notice.message, () =>
          log.error({ server, reason: notice.message }, 'the NATS server reports an error'),
        );
        return;
      case 'leaving': {
        log.info({ server }, 'the NATS server is about to shut down (lame duck mode)');
        const place = this.#serverOf.get(connection);
        if (place) place.isLeaving = true;
        this.#replaceIfLeaving();
        return;
      }
    }
  }
}
