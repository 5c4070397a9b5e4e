import assert from 'node:assert/strict';
import { type Answer, Answer as AnswerSchema } from '@pushcluster/protocol/control.ts';
import { encodePush, encodeUserPush, joinItems, type UserEntry } from '@pushcluster/protocol/push.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import {
  type Bus,
  type BusEvent,
  BusUnconfirmed,
  type Handler,
  type Receiver,
  type Subscription,
} from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { createLog, type Logger } from '@pushcluster/runtime/log.ts';
import { Registry } from 'prom-client';
import { ExceptionGuard } from '../hub/exceptionGuard.ts';
import { Hub } from '../hub/hub.ts';
import { SlicedWork } from '../hub/slicedWork.ts';
import { type ChannelKey, roomKey } from '../ipc/channelKey.ts';
import { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { FakeShard, settingsWith } from './hub.ts';
import { NO_READINGS } from './readings.ts';

/** A hub on an in-process bus with fake shards, for tests of the hub. Call `start` before each test. */

export const subjects = new Subjects('pushcluster');
export const ROOM = roomKey('r');
/** A bus message of version 1: publisher "old", counter 5, id "k1", the items {"a":1} and "x". */
export const VERSION_1 =
  '01180000036f6c6400000000000014400000c006450c7a42026b310200000007000000030000007b2261223a317d2c227822';

/** The in-process bus, whose subscriptions are ready when the test says so. */
class HeldBus {
  readonly local: LocalBus;
  readonly subscribed: string[] = [];
  readonly unsubscribed: string[] = [];
  held = false;
  connected = true;
  /** What the server is to say of a subscription, later. */
  readonly changes = new Map<string, (inForce: boolean) => void>();
  /** Whether receipts come. */
  answers = true;
  readonly #listeners = new Set<(event: BusEvent) => void>();
  #waiting: (() => void)[] = [];

  constructor(log: Logger) {
    this.local = new LocalBus(log);
  }

  get bus(): Bus {
    const { local } = this;
    const self = this;
    return {
      get connected() {
        return self.connected;
      },
      maxPayload: local.maxPayload,
      publish: (subject, bytes) => local.publish(subject, bytes),
      flush: () => (this.answers ? local.flush() : Promise.reject(new BusUnconfirmed('refused'))),
      onEvent: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      close: () => local.close(),
      subscribe: (subject, handler, onChange) => {
        if (onChange) this.changes.set(subject, onChange);
        if (typeof handler !== 'function') this.changes.set(subject, (inForce) => handler.changed(inForce));
        return this.#subscribe(subject, handler);
      },
    };
  }

  tell(event: BusEvent): void {
    this.connected = event.type === 'connected';
    for (const listener of this.#listeners) listener(event);
  }

  /** Lets the subscriptions that were held be ready. */
  async release(): Promise<void> {
    for (const ready of this.#waiting.splice(0)) ready();
    await settled();
  }

  #subscribe(subject: string, handler: Handler | Receiver): Subscription {
    this.subscribed.push(subject);
    const subscription = this.local.subscribe(subject, handler);
    const ready = this.held ? new Promise<void>((resolve) => this.#waiting.push(resolve)) : subscription.ready;
    return {
      ready,
      unsubscribe: () => {
        this.unsubscribed.push(subject);
        subscription.unsubscribe();
      },
    };
  }
}

/** What the bus and its promises have under way is done after this. */
export const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

export let clock: FakeClock;
/** By the wall clock it is so much later than by the other. */
export const WALL = 1_000_000;

export let held: HeldBus;
export let metrics: GatewayMetrics;
export let registry: Registry;
export let shards: FakeShard[];
export let hub: Hub;
let counters: Map<string, number>;

export function start(settings: Settings = settingsWith(), count = 2, maxEmpty?: number) {
  const log = createLog('gateway', 'error', { to: { write: () => undefined } });
  clock = new FakeClock();
  clock.step(WALL - clock.wall());
  held = new HeldBus(log);
  registry = new Registry();
  metrics = new GatewayMetrics(registry, {
    ...NO_READINGS,
    gateway: 'g1',
    startedAt: 1,
    rooms: () => hub.rooms,
    channels: () => hub.channels,
  });
  const guard = new ExceptionGuard(log, (place) => metrics.internalErrors.inc({ place }));
  hub = new Hub({
    gateway: 'g1',
    bus: held.bus,
    settings,
    clock,
    log,
    metrics,
    guard,
    work: new SlicedWork({ clock, failed: (error) => guard.caught('timer', error) }),
    cores: 2,
    gateways: () => 3,
    ...(maxEmpty && { maxEmpty }),
  });
  shards = Array.from({ length: count }, (_, i) => new FakeShard(i));
  hub.attach(shards);
  counters = new Map();
}

let generation = 0;
export function forms(shard: FakeShard, key: ChannelKey, mask: number): number {
  hub.receive(shard, { type: 'forms', key, mask, generation: ++generation });
  return generation;
}

type Publish = { publisher?: string; counter?: number; id?: string; urgent?: boolean; beat?: number };

/** Publishes items (JSON texts) to a subject and waits until the hub has them. */
export async function publish(subject: string, texts: readonly string[], more: Publish = {}): Promise<void> {
  const { publisher = 'p', id = '', urgent = false, beat = 0 } = more;
  const place = `${publisher} ${subject}`;
  const counter = more.counter ?? counters.get(place) ?? 1;
  counters.set(place, counter + texts.length);
  const items = joinItems(texts.map((text) => Buffer.from(text)));
  const beats = beat === 0 ? { beat, mark: counter, first: 0 } : { beat, mark: 1, first: beat };
  held.local.publish(subject, encodePush({ publisher, counter, at: 5, begun: 0, ...beats, urgent, id, items }));
  await settled();
}

/** What comes to `reply.1` from now on. */
export function replies(): Answer[] {
  const answers: Answer[] = [];
  held.local.subscribe('reply.1', (bytes) =>
    answers.push(AnswerSchema.parse(JSON.parse(Buffer.from(bytes).toString()))),
  );
  return answers;
}

/** A command of logic; questions are to be answered on `reply.1`. */
export async function command(one: object): Promise<void> {
  held.local.publish(subjects.command, Buffer.from(JSON.stringify({ reply: 'reply.1', ...one })));
  await settled();
}

/** What a shard was asked last. */
export function asked(shard: FakeShard): string {
  return shard.messagesOf('ask').at(-1)!.question.ask;
}

export async function publishToUsers(
  entries: { users: string[]; texts: string[]; id?: string; urgent?: boolean }[],
  counter: number,
) {
  const list: UserEntry[] = entries.map(({ users, texts, id = '', urgent = false }) => ({
    users,
    id,
    urgent,
    items: joinItems(texts.map((text) => Buffer.from(text))),
  }));
  const beats = { begun: 0, beat: 0, mark: counter, first: 0 };
  const header = { publisher: 'p', counter, at: 5, ...beats, urgent: false, id: '' };
  held.local.publish(subjects.user, encodeUserPush({ ...header, entries: list }));
  await settled();
}

/** The items of all plain frames that a shard got for a channel. */
export function plainItems(shard: FakeShard, key: ChannelKey): unknown[] {
  return shard.batches
    .filter((batch) => batch.key === key)
    .flatMap(({ frames }) => frames.filter(({ form }) => form === Form.plain))
    .flatMap(({ bytes }) => (JSON.parse(bytes.toString()) as { data: { items: unknown[] } }).data.items);
}

export async function counted(name: string): Promise<number> {
  const metric = await registry.getSingleMetric(`pushcluster_gateway_${name}`)?.get();
  assert.ok(metric, `no metric ${name}`);
  return metric.values.reduce((sum, { value }) => sum + value, 0);
}
