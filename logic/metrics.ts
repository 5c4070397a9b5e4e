import type { Target } from '@pushcluster/protocol/api.ts';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Target of a push; `unknown` if it was refused before the target was known. */
export type TargetLabel = Target['type'] | 'unknown';

const TARGETS = ['all', 'room', 'rooms', 'user', 'users'] as const satisfies TargetLabel[];

/** The metrics of logic. No label has a value that a caller chooses: strangers could grow the number of series. */
export class Metrics {
  /** The counters of go-push's `GET /stats`. prom-client's counters can only be read asynchronously. */
  readonly goPush = { DispatchTotal: 0, DispatchFail: 0, PushFail: 0 };
  readonly #requests = new Map<TargetLabel, Map<number, number>>();
  readonly #messages = new Map<TargetLabel, number>();
  readonly #publish: Histogram;
  readonly #stored: Histogram;
  readonly #ignored: Counter<'kind'>;
  readonly #refused: Counter;
  readonly #unread: Counter;
  readonly #historiesRefused: Counter;
  /** Messages to rooms with a history that were sent to the store again. */
  readonly publishRetries: Counter;
  /** Messages that the store had already. */
  readonly publishDuplicates: Counter;

  constructor(
    registry: Registry,
    read: {
      inFlight: () => number;
      waiting: () => number;
      gateways: () => number;
      generation: () => number;
      questions: () => number;
    },
  ) {
    const registers = [registry];
    // Series exist from the start: Prometheus sees no increase in a series that first appears with a value.
    this.#answered('unknown', 400, 0);
    for (const target of TARGETS) {
      for (const status of [202, 503]) this.#answered(target, status, 0);
      this.#messages.set(target, 0);
    }
    // Counted here and passed to prom-client at a scrape: a labelled `inc` costs a twentieth of a whole push.
    const requests = this.#requests;
    new Counter({
      name: 'pushcluster_logic_push_requests_total',
      help: 'Push requests by target and by status of the response.',
      labelNames: ['target', 'code'],
      registers,
      collect() {
        for (const [target, codes] of requests) for (const [code, count] of codes) this.inc({ target, code }, count);
        requests.clear();
      },
    });
    const messages = this.#messages;
    new Counter({
      name: 'pushcluster_logic_messages_total',
      help: 'Items that the bus confirmed. An item to several rooms counts once for each room.',
      labelNames: ['target'],
      registers,
      collect() {
        for (const [target, count] of messages) this.inc({ target }, count);
        messages.clear();
      },
    });
    this.#publish = new Histogram({
      name: 'pushcluster_logic_publish_seconds',
      help: 'Time from an accepted push to its confirmation by the bus.',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    });
    this.#stored = new Histogram({
      name: 'pushcluster_logic_history_store_seconds',
      help: 'Time until a message to a room with a history was stored, with all attempts.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
    this.#ignored = new Counter({
      name: 'pushcluster_logic_ignored_messages_total',
      help: 'Messages of gateways that were ignored: they are invalid, or one too many.',
      labelNames: ['kind'],
      registers,
    });
    for (const kind of ['stat', 'answer']) this.#ignored.inc({ kind }, 0);
    this.#refused = new Counter({
      name: 'pushcluster_logic_connections_refused_total',
      help: 'Connections closed at once because the limit was reached.',
      registers,
    });
    this.#unread = new Counter({
      name: 'pushcluster_logic_unread_responses_total',
      help: 'Connections closed because the client did not read its response.',
      registers,
    });
    this.#historiesRefused = new Counter({
      name: 'pushcluster_logic_history_answers_refused_total',
      help: 'Requests for the history of a room that were refused because too many were being answered.',
      registers,
    });
    this.publishRetries = new Counter({
      name: 'pushcluster_logic_publish_retries_total',
      help: 'Messages that were sent to the history of a room again, because NATS had not acknowledged them.',
      registers,
    });
    this.publishDuplicates = new Counter({
      name: 'pushcluster_logic_publish_duplicates_total',
      help: 'Messages that the history of a room had already.',
      registers,
    });
    gauge(
      registry,
      'logic_history_waiting_messages',
      'Messages to rooms with a history that are not stored yet.',
      read.waiting,
    );
    gauge(
      registry,
      'logic_publish_in_flight_bytes',
      'Bytes published and not yet confirmed by the bus.',
      read.inFlight,
    );
    gauge(registry, 'logic_known_gateways', 'Gateways that reported themselves lately.', read.gateways);
    gauge(registry, 'logic_questions_under_way', 'Questions to gateways that are not answered yet.', read.questions);
    gauge(registry, 'logic_config_generation', 'Generation of the settings in use.', read.generation);
  }

  answered(target: TargetLabel, status: number) {
    this.#answered(target, status, 1);
  }

  /** @param seconds from the accepted push to its confirmation */
  published(target: TargetLabel, messages: number, seconds: number) {
    this.#messages.set(target, (this.#messages.get(target) ?? 0) + messages);
    this.#publish.observe(seconds);
  }

  /** A message to a room with a history. @param seconds from its first attempt */
  stored(seconds: number) {
    this.#stored.observe(seconds);
  }

  connectionRefused() {
    this.#refused.inc();
  }

  unreadResponse() {
    this.#unread.inc();
  }

  historyRefused() {
    this.#historiesRefused.inc();
  }

  ignored(kind: 'stat' | 'answer') {
    this.#ignored.inc({ kind });
  }

  #answered(target: TargetLabel, status: number, requests: number) {
    let codes = this.#requests.get(target);
    if (!codes) {
      codes = new Map();
      this.#requests.set(target, codes);
    }
    codes.set(status, (codes.get(status) ?? 0) + requests);
  }
}

function gauge(registry: Registry, name: string, help: string, read: () => number) {
  new Gauge({
    name: `pushcluster_${name}`,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
