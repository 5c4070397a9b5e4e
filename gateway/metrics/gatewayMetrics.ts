import type { GatewayStats } from '@pushcluster/protocol/control.ts';
import { reportCertificate, type Validity } from '@pushcluster/runtime/certificateMetrics.ts';
import { Counter, Gauge, type Registry } from 'prom-client';
import { REFUSED_HANDSHAKES } from '../admission/refusal.ts';
import { GUARDED } from '../hub/exceptionGuard.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import { MOVE_REASONS } from '../ipc/move.ts';
import { CLOSE_LABELS, IGNORED_REASONS } from '../shard/metricLabels.ts';
import { BucketHistogram } from './bucketHistogram.ts';
import { DeliveryLatency } from './deliveryLatency.ts';

const PREFIX = 'pushcluster_gateway_';

/** What the metrics read at a scrape. */
export type GatewayView = {
  gateway: string;
  startedAt: number;
  shards(): readonly (ShardCounts | undefined)[];
  rooms(): number;
  /** Channels (rooms and users) that the hub keeps, how many of them are empty, and how many wait for their subscription. */
  channels(): { kept: number; empty: number; waiting: number };
  /** Bytes of messages of rooms with history that the hub holds. */
  ringBytes(): number;
  /** Cores that frames may take of the busiest core. */
  frameBudget(): number;
  draining(): boolean;
  rebalancing(): boolean;
  peers(): number;
  generation(): number;
};

/** The gateway's metrics. Shards count and this process adds up, so that the counts of a dead shard are kept. */
export class GatewayMetrics {
  readonly batchItems: BucketHistogram;
  readonly batchWindow: BucketHistogram;
  /** Lengths of merge windows. */
  readonly mergeWindow: BucketHistogram;
  /** Items lost on the bus, known from the publishers' counters. */
  readonly gaps: Counter;
  /** Items that came from the bus after later ones of their publisher, and were put in their place. */
  readonly late: Counter;
  readonly undecodable: Counter;
  /** Retried pushes that were dropped because their id was known. */
  readonly repeats: Counter;
  readonly idempotencyForgotten: Counter;
  readonly shardRestarts: Counter;
  readonly settingsRefused: Counter;
  /** Rooms whose subscription began, and empty rooms that ended before their 5 s. */
  readonly roomSubscriptions: Counter;
  readonly roomsEndedEarly: Counter;
  /** Errors that lost one event, by place. */
  readonly internalErrors: Counter<'place'>;
  /** Items that the hub dropped because it could not encode them in time. */
  readonly hubOverrun: Counter;
  /** Items of frames that were dropped because a shard did not read them in time. */
  readonly shardOverrun: Counter;
  /** Rooms with a history: repairs by what made them necessary, pushes that they brought, and how often pushes were gone. */
  readonly historyRepairs: Counter<'cause'>;
  readonly recoveredMessages: Counter;
  readonly historyResets: Counter;
  /** JOINs with `since` or `last`, by whether everything was there. */
  readonly resumes: Counter<'recovered'>;
  /** Reads of the store, and answers of servers that were behind. */
  readonly historyReads: Counter;
  readonly historyStaleAnswers: Counter;
  readonly #view: GatewayView;
  readonly #registry: Registry;
  readonly #plain: ReadonlyMap<CountedKey, Counter>;
  readonly #labelled: ReadonlyMap<LabelledKey, Counter>;
  readonly #latency: DeliveryLatency;
  readonly #totals = { messagesDelivered: 0, framesSent: 0, bytesSent: 0, messagesDropped: 0 };

  constructor(registry: Registry, view: GatewayView) {
    this.#view = view;
    this.#registry = registry;
    const counter = (name: string, help: string) => new Counter({ name: PREFIX + name, help, registers: [registry] });
    const labelled = <Label extends string>(
      name: string,
      help: string,
      label: Label,
      values: readonly string[] = [],
    ) => {
      const made = new Counter({ name: PREFIX + name, help, labelNames: [label], registers: [registry] });
      for (const value of values) made.inc({ [label]: value } as Record<Label, string>, 0);
      return made;
    };
    this.batchItems = new BucketHistogram({
      registry,
      name: `${PREFIX}batch_items`,
      help: 'Items in a frame.',
      buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 10_000],
    });
    this.batchWindow = new BucketHistogram({
      registry,
      name: `${PREFIX}batch_window_seconds`,
      help: 'Time from the first item of a frame to the frame.',
      buckets: [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.05, 1.25, 2, 5, 10],
    });
    this.mergeWindow = new BucketHistogram({
      registry,
      name: `${PREFIX}merge_window_seconds`,
      help: 'Length of a merge window when it is decided: at most maxDelay, and as short as the gateway can afford.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 5, 10],
    });
    this.gaps = counter('gaps_total', 'Items lost between logic and this gateway, known from publisher counters.');
    this.late = counter(
      'late_items_total',
      'Items that came from NATS after later ones of their publisher, and were put in their place.',
    );
    this.undecodable = counter('bus_messages_ignored_total', 'Bus messages that could not be parsed.');
    this.repeats = counter(
      'push_retries_dropped_total',
      'Pushes dropped because their id was seen in the last two minutes.',
    );
    this.idempotencyForgotten = counter(
      'push_ids_forgotten_total',
      'Push ids dropped from memory before their two minutes: a retry would be delivered twice.',
    );
    this.shardRestarts = counter('shard_restarts_total', 'Shard processes that died or hung and were replaced.');
    this.settingsRefused = counter(
      'config_refused_total',
      'Changes of the settings file that were refused as invalid.',
    );
    this.shardOverrun = counter(
      'shard_overrun_items_total',
      'Items dropped because a shard did not keep up; its clients are notified, or sent them later if the room has a history.',
    );
    this.historyRepairs = labelled(
      'history_repairs_total',
      'Repairs of rooms with a history: messages did not come (gap), or were found in the store alone (compare).',
      'cause',
      ['gap', 'compare'],
    );
    this.recoveredMessages = counter(
      'recovered_messages_total',
      'Messages to rooms with a history that NATS did not deliver, and that were read from its store.',
    );
    this.historyResets = counter(
      'history_resets_total',
      'Rooms whose history was interrupted: it was made anew, or limits removed messages before they were read.',
    );
    this.resumes = new Counter({
      name: `${PREFIX}resumes_total`,
      help: 'JOINs of rooms with a history that continue after a position, by whether everything since was still there.',
      labelNames: ['recovered'],
      registers: [registry],
    });
    for (const recovered of ['true', 'false']) this.resumes.inc({ recovered }, 0);
    this.historyReads = counter('history_reads_total', 'Reads of the history of a room from the store.');
    this.historyStaleAnswers = counter(
      'history_stale_answers_total',
      'Answers of NATS servers that were behind others.',
    );
    this.roomSubscriptions = counter(
      'room_subscriptions_total',
      'Room subscriptions started. A room keeps its subscription for 5 s after its last member.',
    );
    this.roomsEndedEarly = counter(
      'rooms_ended_early_total',
      'Empty rooms ended before their 5 s because 20,000 rooms were empty.',
    );
    this.hubOverrun = counter(
      'hub_overrun_items_total',
      'Items dropped because the hub could not encode them in time; their clients are notified, or sent them later if the room has a history.',
    );
    this.internalErrors = labelled(
      'internal_errors_total',
      'Unexpected errors that lost one event: a message from or to the bus, a message of a shard, or a timer. Each is a bug or a limit of the bus; one a minute is logged.',
      'place',
      GUARDED,
    );
    this.#plain = new Map<CountedKey, Counter>([
      ['opened', counter('connections_opened_total', 'Connections opened.')],
      ['framesSent', counter('frames_sent_total', 'Frames of pushes written to sockets.')],
      [
        'messagesDelivered',
        counter('messages_delivered_total', 'Items written to sockets, counted for each connection.'),
      ],
      ['bytesSent', counter('bytes_sent_total', 'Bytes of push frames written to sockets, without TLS and TCP.')],
      ['inboundFrames', counter('frames_received_total', 'Frames received from clients.')],
      [
        'answersDropped',
        counter(
          'answers_dropped_total',
          'Answers and RECONNECT frames dropped because the send buffer was full. The connection is closed, except for PONG and RECONNECT.',
        ),
      ],
      [
        'backlogCut',
        counter('backlog_cut_total', 'Slow clients closed because the send buffers of a shard were over its limit.'),
      ],
    ]);
    this.#labelled = new Map<LabelledKey, Counter>([
      [
        'closed',
        labelled('connections_closed_total', 'Connections closed, by close code; unknown codes share "other".', 'code'),
      ],
      ['refused', labelled('refused_total', 'Handshakes refused.', 'reason')],
      ['ignored', labelled('frames_ignored_total', 'Frames of clients that were ignored.', 'reason')],
      [
        'dropped',
        labelled(
          'messages_dropped_total',
          'Items that did not reach a connection: slow client, overload, or lost on the bus.',
          'reason',
        ),
      ],
      [
        'moved',
        labelled(
          'moved_total',
          'Connections moved to other gateways: at shutdown, by an ordered drain, or by rebalancing.',
          'reason',
        ),
      ],
      ['keyFetches', labelled('token_key_fetches_total', 'Fetches of the JWKS that verifies tokens.', 'outcome')],
    ]);
    for (const outcome of ['ok', 'failed']) this.#labelled.get('keyFetches')?.inc({ outcome }, 0);
    for (const reason of MOVE_REASONS) this.#labelled.get('moved')?.inc({ reason }, 0);
    for (const reason of ['slow', 'overload', 'bus_gap']) this.#labelled.get('dropped')?.inc({ reason }, 0);
    for (const reason of IGNORED_REASONS) this.#labelled.get('ignored')?.inc({ reason }, 0);
    for (const code of CLOSE_LABELS) this.#labelled.get('closed')?.inc({ code }, 0);
    for (const reason of REFUSED_HANDSHAKES) this.#labelled.get('refused')?.inc({ reason }, 0);
    this.#latency = new DeliveryLatency(registry, PREFIX);
    this.#gauges();
  }

  /** Adds what a shard has counted since `before`, its last report (undefined: since its start). */
  add(counts: ShardCounts, before: ShardCounts | undefined): void {
    for (const [key, counter] of this.#plain) counter.inc(counts[key] - (before?.[key] ?? 0));
    for (const [key, counter] of this.#labelled) {
      const label = LABELS[key];
      const now: Record<string, number> = counts[key];
      const then: Record<string, number> = before?.[key] ?? {};
      for (const [value, count] of Object.entries(now)) {
        const more = count - (then[value] ?? 0);
        if (more > 0) counter.inc({ [label]: value }, more);
        if (key === 'dropped') this.#totals.messagesDropped += more;
      }
    }
    this.#totals.messagesDelivered += counts.messagesDelivered - (before?.messagesDelivered ?? 0);
    this.#totals.framesSent += counts.framesSent - (before?.framesSent ?? 0);
    this.#totals.bytesSent += counts.bytesSent - (before?.bytesSent ?? 0);
    this.#latency.add(counts, before);
  }

  stats(): GatewayStats {
    const view = this.#view;
    return {
      gateway: view.gateway,
      connections: total(view.shards(), 'connections'),
      rooms: view.rooms(),
      shards: view.shards().filter((counts) => counts !== undefined).length,
      ...this.#totals,
      draining: view.draining(),
      startedAt: view.startedAt,
    };
  }

  #gauges() {
    const view = this.#view;
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name: PREFIX + name,
        help,
        registers: [this.#registry],
        collect() {
          this.set(read());
        },
      });
    gauge('connections', 'Open connections.', () => total(view.shards(), 'connections'));
    gauge('rooms', 'Rooms with a member on this gateway.', () => view.rooms());
    gauge('channels', "Rooms and users in the hub's memory, including empty ones.", () => view.channels().kept);
    gauge('channels_empty', 'Rooms and users without a connection, kept for 5 s.', () => view.channels().empty);
    gauge('rooms_waiting', 'Rooms whose subscription is pending.', () => view.channels().waiting);
    gauge('history_ring_bytes', "Last messages of rooms with a history in the hub's memory.", () => view.ringBytes());
    gauge(
      'frame_budget_cores',
      'CPU time that frames may take of the busiest core before merge windows become longer, in cores. Less while the gateway is under strain.',
      () => view.frameBudget(),
    );
    gauge('draining', '1 while the gateway drains.', () => (view.draining() ? 1 : 0));
    gauge('rebalancing', '1 while the gateway moves its surplus over the average away.', () =>
      view.rebalancing() ? 1 : 0,
    );
    gauge('peers', 'Other gateways that report on the bus.', () => view.peers());
    gauge('config_generation', 'Generation of the settings in force.', () => view.generation());
    gauge('fd_limit', 'Limit of file descriptors of all shards together.', () => total(view.shards(), 'fdLimit'));
    gauge('token_keys_stale_seconds', 'Age of the keys that verify tokens, if fetching them fails; 0 otherwise.', () =>
      Math.max(0, ...view.shards().map((counts) => counts?.keysStaleFor ?? 0)),
    );
    reportCertificate(this.#registry, 'gateway', () => earliest(view.shards()));
    this.#shardGauge(
      'shard_loop_lag_seconds',
      'Longest delay of the event loop in the last second.',
      (counts) => counts.loopLag,
    );
    this.#shardGauge(
      'shard_backlog_bytes',
      'Bytes in the send buffers of slow clients of one shard.',
      (counts) => counts.backlog,
    );
    this.#shardGauge(
      'shard_backlog_limit_bytes',
      'Limit of the bytes in send buffers of slow clients of one shard: one eighth of the memory limit, divided by the shards.',
      (counts) => counts.backlogBudget,
    );
    this.#shardGauge('shard_connections', 'Open connections of one shard.', (counts) => counts.connections);
    this.#shardGauge('shard_resident_memory_bytes', 'Resident memory of one shard process.', (counts) => counts.rss);
    new Counter({
      name: `${PREFIX}shard_cpu_seconds_total`,
      help: 'CPU time of one shard process since its start.',
      labelNames: ['shard'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [shard, counts] of view.shards().entries()) if (counts) this.inc({ shard }, counts.cpuSeconds);
      },
    });
  }

  #shardGauge(name: string, help: string, read: (counts: ShardCounts) => number) {
    const view = this.#view;
    new Gauge({
      name: PREFIX + name,
      help,
      labelNames: ['shard'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [shard, counts] of view.shards().entries()) if (counts) this.set({ shard }, read(counts));
      },
    });
  }
}

type CountedKey =
  | 'opened'
  | 'framesSent'
  | 'messagesDelivered'
  | 'bytesSent'
  | 'inboundFrames'
  | 'answersDropped'
  | 'backlogCut';
type LabelledKey = keyof typeof LABELS;
const LABELS = {
  closed: 'code',
  refused: 'reason',
  ignored: 'reason',
  dropped: 'reason',
  moved: 'reason',
  keyFetches: 'outcome',
} as const;

/** Validity of the certificate that expires first: a shard that could not use a new one keeps the former. */
function earliest(shards: readonly (ShardCounts | undefined)[]): Validity | undefined {
  const used = shards.filter((counts) => counts !== undefined && counts.certificateEnds > 0);
  const [first] = used.sort((a, b) => (a?.certificateEnds ?? 0) - (b?.certificateEnds ?? 0));
  return first && { ends: first.certificateEnds, lasts: first.certificateLasts };
}

function total(shards: readonly (ShardCounts | undefined)[], key: 'connections' | 'fdLimit'): number {
  let sum = 0;
  for (const counts of shards) sum += counts?.[key] ?? 0;
  return sum;
}
