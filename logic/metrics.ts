import type { Target } from '@pushcluster/protocol/api.ts';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What a push was for; `unknown` where it was refused before that was clear. */
export type TargetLabel = Target['type'] | 'unknown';

const TARGETS = ['all', 'room', 'rooms', 'user', 'users'] as const satisfies TargetLabel[];

/** logic's metrics. No label has a value that a caller chooses. */
export class Metrics {
  /** What go-push's `GET /stats` shows, counted here since a counter of prom-client can't be read back at once. */
  readonly goPush = { DispatchTotal: 0, DispatchFail: 0, PushFail: 0 };
  readonly #requests = new Map<TargetLabel, Map<number, number>>();
  readonly #messages = new Map<TargetLabel, number>();
  readonly #publish: Histogram;
  readonly #ignored: Counter<'kind'>;
  readonly #refused: Counter;

  constructor(
    registry: Registry,
    read: { inFlight: () => number; gateways: () => number; generation: () => number; questions: () => number },
  ) {
    const registers = [registry];
    // There from the start: of what first appears with a value, no rate knows that it increased.
    this.#answered('unknown', 400, 0);
    for (const target of TARGETS) {
      for (const status of [202, 503]) this.#answered(target, status, 0);
      this.#messages.set(target, 0);
    }
    // Tallied by hand and handed over at a scrape: a labelled `inc` costs a twentieth of a whole push.
    const requests = this.#requests;
    new Counter({
      name: 'pushcluster_logic_push_requests_total',
      help: 'Push requests answered, by what they were for and the status of the answer.',
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
      help: 'Items that the bus confirmed; an item to several rooms counts once for each.',
      labelNames: ['target'],
      registers,
      collect() {
        for (const [target, count] of messages) this.inc({ target }, count);
        messages.clear();
      },
    });
    this.#publish = new Histogram({
      name: 'pushcluster_logic_publish_seconds',
      help: 'From an accepted push to the receipt of the bus.',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    });
    this.#ignored = new Counter({
      name: 'pushcluster_logic_ignored_messages_total',
      help: 'Messages of gateways that were not understood, or one too many.',
      labelNames: ['kind'],
      registers,
    });
    for (const kind of ['stat', 'answer']) this.#ignored.inc({ kind }, 0);
    this.#refused = new Counter({
      name: 'pushcluster_logic_connections_refused_total',
      help: 'Connections closed at once, since there were too many.',
      registers,
    });
    gauge(registry, 'logic_publish_in_flight_bytes', 'Bytes given to the bus and not yet confirmed.', read.inFlight);
    gauge(registry, 'logic_known_gateways', 'Gateways heard of lately.', read.gateways);
    gauge(registry, 'logic_questions_under_way', 'Questions to gateways under way.', read.questions);
    gauge(registry, 'logic_config_generation', 'Generation of the settings in use.', read.generation);
  }

  answered(target: TargetLabel, status: number) {
    this.#answered(target, status, 1);
  }

  /** @param seconds from the accepted push to its receipt */
  published(target: TargetLabel, messages: number, seconds: number) {
    this.#messages.set(target, (this.#messages.get(target) ?? 0) + messages);
    this.#publish.observe(seconds);
  }

  connectionRefused() {
    this.#refused.inc();
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
