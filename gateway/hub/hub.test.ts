import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { type Answer, Answer as AnswerSchema, SessionOpened } from '@pushcluster/protocol/control.ts';
import { encodePush, encodeUserPush, joinItems, type UserEntry } from '@pushcluster/protocol/push.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import {
  type Bus,
  type BusEvent,
  BusUnconfirmed,
  type Handler,
  type Subscription,
} from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { type Logger, pino } from 'pino';
import { Registry } from 'prom-client';
import { ALL, type ChannelKey, roomKey, userKey } from '../ipc/channelKey.ts';
import { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { FakeShard, settingsWith } from '../simulation/hub.ts';
import { ExceptionGuard } from './exceptionGuard.ts';
import { Hub } from './hub.ts';

const subjects = new Subjects('pushcluster');
const ROOM = roomKey('r');
/** A bus message of version 1: publisher "old", counter 5, id "k1", the items {"a":1} and "x". */
const VERSION_1 =
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

  #subscribe(subject: string, handler: Handler): Subscription {
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
const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

let clock: FakeClock;
/** By the wall clock it is so much later than by the other. */
const WALL = 1_000_000;

let held: HeldBus;
let metrics: GatewayMetrics;
let registry: Registry;
let shards: FakeShard[];
let hub: Hub;
let counters: Map<string, number>;

function start(settings: Settings = settingsWith(), count = 2, maxEmpty?: number) {
  const log = pino({ level: 'silent' });
  clock = new FakeClock();
  clock.step(WALL - clock.wall());
  held = new HeldBus(log);
  registry = new Registry();
  metrics = new GatewayMetrics(registry, {
    gateway: 'g1',
    startedAt: 1,
    shards: () => [],
    rooms: () => hub.rooms,
    channels: () => hub.channels,
    draining: () => false,
    rebalancing: () => false,
    peers: () => 0,
    generation: () => 1,
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
    gateways: () => 3,
    ...(maxEmpty && { maxEmpty }),
  });
  shards = Array.from({ length: count }, (_, i) => new FakeShard(i));
  hub.attach(shards);
  counters = new Map();
}

let generation = 0;
function forms(shard: FakeShard, key: ChannelKey, mask: number): number {
  hub.receive(shard, { type: 'forms', key, mask, generation: ++generation });
  return generation;
}

type Publish = { publisher?: string; counter?: number; id?: string; urgent?: boolean; beat?: number };

/** Publishes items (JSON texts) to a subject and waits until the hub has them. */
async function publish(subject: string, texts: readonly string[], more: Publish = {}): Promise<void> {
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
function replies(): Answer[] {
  const answers: Answer[] = [];
  held.local.subscribe('reply.1', (bytes) =>
    answers.push(AnswerSchema.parse(JSON.parse(Buffer.from(bytes).toString()))),
  );
  return answers;
}

/** A command of logic; questions are to be answered on `reply.1`. */
async function command(one: object): Promise<void> {
  held.local.publish(subjects.command, Buffer.from(JSON.stringify({ reply: 'reply.1', ...one })));
  await settled();
}

/** What a shard was asked last. */
function asked(shard: FakeShard): string {
  return shard.messagesOf('ask').at(-1)!.question.ask;
}

async function publishToUsers(
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
function plainItems(shard: FakeShard, key: ChannelKey): unknown[] {
  return shard.batches
    .filter((batch) => batch.key === key)
    .flatMap(({ frames }) => frames.filter(({ form }) => form === Form.plain))
    .flatMap(({ bytes }) => (JSON.parse(bytes.toString()) as { data: { items: unknown[] } }).data.items);
}

async function counted(name: string): Promise<number> {
  const metric = await registry.getSingleMetric(`pushcluster_gateway_${name}`)?.get();
  assert.ok(metric, `no metric ${name}`);
  return metric.values.reduce((sum, { value }) => sum + value, 0);
}

beforeEach(() => start());

describe('a room', () => {
  it('is opened for a shard only when the subscription is ready', async () => {
    held.held = true;
    const first = forms(shards[0]!, ROOM, Form.plain);
    await settled();
    assert.deepEqual(held.subscribed.slice(-1), [subjects.room('r')]);
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
    const second = forms(shards[1]!, ROOM, Form.v1);
    await held.release();
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.plain, generation: first },
    ]);
    assert.deepEqual(shards[1]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.v1, generation: second },
    ]);
    // One subscription serves all shards, and a further form is opened at once.
    assert.equal(held.subscribed.filter((subject) => subject === subjects.room('r')).length, 1);
    const third = forms(shards[0]!, ROOM, Form.plain | Form.deflate);
    assert.deepEqual(shards[0]!.messagesOf('subscribed').at(-1), {
      type: 'subscribed',
      key: ROOM,
      mask: 5,
      generation: third,
    });
  });

  it('is not opened for a shard that has left it meanwhile', async () => {
    held.held = true;
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    await held.release();
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
  });

  it('is not opened by the late answer to a subscription that it had before', async () => {
    held.held = true;
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    clock.advance(5_000);
    const late = held;
    await settled();
    // The room begins anew while the first subscription is still to be answered; its own is never ready.
    const before = late.subscribed.length;
    const releaseFirst = late.release.bind(late);
    const first = releaseFirst();
    forms(shards[0]!, ROOM, Form.plain);
    await first;
    assert.equal(late.subscribed.length, before + 1);
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
    await late.release();
    assert.equal(shards[0]!.messagesOf('subscribed').length, 1);
  });

  it('is shut where the server takes its subscription back, and opened when it grants it', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await settled();
    const change = held.changes.get(subjects.room('r'))!;
    change(false);
    assert.deepEqual(shards[0]!.messagesOf('subscriptionRefused'), [{ type: 'subscriptionRefused', key: ROOM }]);
    assert.deepEqual(shards[1]!.messagesOf('subscriptionRefused'), [], 'it has no member there');
    const generation = forms(shards[1]!, ROOM, Form.v1);
    assert.equal(shards[1]!.messagesOf('subscribed').length, 0);
    change(true);
    assert.deepEqual(shards[1]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.v1, generation },
    ]);
    assert.equal(shards[0]!.messagesOf('subscribed').length, 2);
  });

  it('keeps its subscription for 5 s when it is empty, and then ends', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    assert.equal(hub.rooms, 1);
    forms(shards[0]!, ROOM, 0);
    assert.equal(hub.rooms, 0);
    clock.advance(4_999);
    assert.deepEqual(held.unsubscribed, []);
    clock.advance(1);
    assert.deepEqual(held.unsubscribed, [subjects.room('r')]);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(shards[0]!.batches, []);
    assert.equal(clock.timers, 0);
  });

  it('that a flood of joins and leaves begins is paced, and those that are empty are kept in a limited number', async () => {
    start(settingsWith(), 2, 300);
    const rooms = Array.from({ length: 1_500 }, (_, i) => roomKey(`r${i}`));
    for (const [i, key] of rooms.entries()) {
      forms(shards[i % 2]!, key, Form.plain);
      // Of those that wait to be subscribed for nothing is left.
      if (i % 3 === 0) forms(shards[i % 2]!, key, 0);
    }
    assert.ok(held.subscribed.length < 300, `${held.subscribed.length} subscriptions at once`);
    assert.ok(hub.channels.kept < 1_100, `${hub.channels.kept} rooms kept`);
    while (hub.channels.waiting > 0) {
      const before = held.subscribed.length;
      clock.advance(50);
      assert.ok(held.subscribed.length - before <= 250, `${held.subscribed.length - before} at once`);
    }
    assert.equal(hub.rooms, 1_000);
    for (const [i, key] of rooms.entries()) if (i % 3) forms(shards[i % 2]!, key, 0);
    assert.equal(hub.rooms, 0);
    assert.equal(hub.channels.empty, 300);
    assert.equal(hub.channels.kept, 301, 'and all');
    assert.ok((await counted('rooms_ended_early_total')) >= 700);
    clock.advance(5_000);
    assert.deepEqual(hub.channels, { kept: 1, empty: 0, waiting: 0 });
    const ofRooms = (list: string[]) => list.filter((subject) => subject.includes('.room.')).length;
    assert.equal(ofRooms(held.subscribed), ofRooms(held.unsubscribed));
    assert.equal(await counted('room_subscriptions_total'), ofRooms(held.subscribed));
    assert.equal(clock.timers, 0);
  });

  it('does not end where somebody came back in time, on whichever shard', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    forms(shards[0]!, ROOM, 0);
    clock.advance(4_000);
    forms(shards[1]!, ROOM, Form.v1);
    assert.equal(shards[1]!.messagesOf('subscribed').length, 1, 'the subscription is there still');
    clock.advance(60_000);
    assert.deepEqual(held.unsubscribed, []);
    await publish(subjects.room('r'), ['1']);
    assert.equal(shards[1]!.batches.length, 1);
  });

  it('does not end while another shard has a member', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[1]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    clock.advance(60_000);
    assert.deepEqual(held.unsubscribed, []);
  });

  it('ends when the shard with its members dies', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    hub.shardDied(shards[0]!);
    assert.equal(hub.rooms, 0, 'nobody listens there any more');
    clock.advance(5_000);
    assert.deepEqual(held.unsubscribed, [subjects.room('r')]);
  });
});

describe('a push', () => {
  it('reaches every shard as the same buffers, encoded once for each form that has a listener', async () => {
    start(settingsWith(), 4);
    const masks = [Form.plain | Form.v1, Form.plain, Form.v1 | Form.plain, 0];
    for (const [i, mask] of masks.entries()) if (mask) forms(shards[i]!, ROOM, mask);
    await publish(subjects.room('r'), ['{"n":1}', 'not json, and not looked at']);
    const [first, second, third, none] = shards.map(({ batches }) => batches[0]);
    assert.equal(none, undefined);
    const bytes = (batch: typeof first, form: Form) => batch?.frames.find((frame) => frame.form === form)?.bytes;
    const plain = bytes(first, Form.plain);
    assert.ok(plain);
    assert.equal(bytes(second, Form.plain), plain, 'another buffer');
    assert.equal(bytes(third, Form.plain), plain, 'another buffer');
    assert.equal(bytes(third, Form.v1), bytes(first, Form.v1), 'another buffer');
    assert.deepEqual(
      second?.frames.map(({ form }) => form),
      [Form.plain],
    );
    assert.equal(first?.frames.length, 2, 'deflate has no listener');
    assert.ok(plain.toString().endsWith('"items":[{"n":1},not json, and not looked at]}}'));
  });

  it('is deflated once for all shards', async () => {
    for (const shard of shards) forms(shard, ROOM, Form.deflate);
    await publish(subjects.room('r'), [`"${'x'.repeat(500)}"`]);
    const [first, second] = shards.map(({ batches }) => batches[0]?.frames[0]);
    assert.equal(first?.bytes, second?.bytes);
    assert.equal(first?.binary, true);
    assert.match(inflateRawSync(first.bytes).toString(), /^\{"type":"PUSH","data":\{"room":"r","ids":\[\["p",1,1\]\],/);
  });

  it('is merged with those that follow within maxDelay, in order', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    for (let i = 1; i <= 4; i++) {
      await publish(subjects.room('r'), [`${i}`]);
      clock.advance(100);
    }
    assert.equal(shards[0]!.batches.length, 1, 'the first left at once, the others wait');
    clock.advance(600);
    assert.equal(shards[0]!.batches.length, 2);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4]);
    assert.deepEqual(shards[0]!.batches[1]?.ages, [[5, 3]]);
    assert.equal(clock.timers, 0);
  });

  it('that is urgent flushes all before it, so many times a second, and is merged beyond', async () => {
    start(settingsWith({ gateway: { batching: { urgentRate: 2 } } }));
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['2']);
    await publish(subjects.room('r'), ['3'], { urgent: true });
    await publish(subjects.room('r'), ['4'], { urgent: true });
    await publish(subjects.room('r'), ['5'], { urgent: true });
    assert.deepEqual(
      shards[0]!.batches.map(({ items }) => items),
      [1, 2, 1],
    );
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4, 5]);
  });

  it('in the window follows a changed maxDelay', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['2']);
    clock.advance(100);
    const settings = settingsWith({ rooms: [{ match: 'r', batching: { maxDelay: '150ms' } }] });
    hub.configure(settings);
    assert.deepEqual(shards[0]!.configured, [settings]);
    clock.advance(49);
    assert.equal(shards[0]!.batches.length, 1);
    clock.advance(1);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2]);
  });

  it('to all goes to every shard that holds anyone', async () => {
    forms(shards[1]!, ALL, Form.plain);
    await publish(subjects.all, ['1']);
    assert.deepEqual(shards[0]!.batches, []);
    assert.deepEqual(plainItems(shards[1]!, ALL), [1]);
  });

  it('of many frames holds the hub for a slice at a time: others are heard between, and nothing overtakes it', async () => {
    start(settingsWith({ gateway: { batching: { maxItems: 10, maxDelay: 0 } } }), 1);
    const other = roomKey('other');
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, other, Form.plain);
    shards[0]!.onFrames = () => clock.freeze(3);
    await publish(
      subjects.room('r'),
      Array.from({ length: 200 }, (_, i) => `${i}`),
    );
    assert.equal(shards[0]!.batches.length, 3);
    // Another room's push, more of this one, and a question come meanwhile.
    await publish(subjects.room('other'), ['"o"']);
    await publish(subjects.room('r'), ['200']);
    await command({ type: 'room', ask: 'q', room: 'r' });
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    assert.equal(shards[0]!.batches.length, 3);
    while (clock.turn());
    assert.deepEqual(
      plainItems(shards[0]!, ROOM),
      Array.from({ length: 201 }, (_, i) => i),
    );
    assert.deepEqual(
      shards[0]!.batches.slice(-2).map(({ key }) => key),
      [other, ROOM],
    );
  });

  it('to a sampled room with maxDelay 0 is a word on what was cut once a second, whatever comes', async () => {
    const policy = { match: 'r', batching: { maxDelay: 0 }, overload: { maxRate: 10 } };
    start(settingsWith({ rooms: [policy] }), 1);
    forms(shards[0]!, ROOM, Form.v1);
    for (let i = 0; i < 1_000; i++) await publish(subjects.room('r'), [`${i}`]);
    clock.advance(1_000);
    assert.equal(shards[0]!.batches.length, 10);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 990, reason: 'overload' }]);
    clock.advance(10_000);
    assert.equal(shards[0]!.missed.length, 1);
    assert.equal(clock.timers, 0);
  });

  it('of the former message version is delivered', async () => {
    forms(shards[0]!, ROOM, Form.plain | Form.v1);
    held.local.publish(subjects.room('r'), Buffer.from(VERSION_1, 'hex'));
    await settled();
    const text = shards[0]!.batches[0]?.frames.find(({ form }) => form === Form.v1)?.bytes.toString();
    assert.equal(text, '{"type":"PUSH","data":{"room":"r","ids":[["old",5,2]],"items":[{"a":1},"x"]}}');
  });

  it('is not encoded while nobody listens', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(shards[0]!.batches, []);
  });
});

describe('what was lost or repeated', () => {
  it('is told where a publisher’s counter jumps, before what follows, to the shards that have the room', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['5'], { counter: 5 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 3, reason: 'bus_gap' }]);
    assert.deepEqual(shards[0]!.order, ['frames', 'missed', 'frames']);
    assert.deepEqual(shards[1]!.missed, []);
    assert.equal(await counted('gaps_total'), 3);
  });

  it('is told after what is still merged, which came before it', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    clock.advance(100);
    await publish(subjects.room('r'), ['2'], { counter: 2 });
    await publish(subjects.room('r'), ['6'], { counter: 6 });
    assert.deepEqual(shards[0]!.order, ['frames'], 'no frame more for it than without');
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.order, ['frames', 'frames', 'missed']);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 3, reason: 'bus_gap' }]);
  });

  it('is told however early the timer comes that was set for it', async () => {
    const after = clock.after.bind(clock);
    clock.after = (ms, run) => after(ms > 1 ? ms - 0.5 : ms, run);
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), [], { counter: 3 });
    await publish(subjects.room('r'), [], { counter: 6 });
    clock.advance(2_000);
    assert.deepEqual(
      shards[0]!.missed.map(({ items }) => items).reduce((sum, items) => sum + items, 0),
      4,
    );
    assert.equal(clock.timers, 0);
  });

  it('is told where what reveals it is a retry that goes no further', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    clock.advance(5_000);
    await publish(subjects.room('r'), ['1'], { id: 'k', counter: 4 });
    clock.advance(1);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 2, reason: 'bus_gap' }]);
    assert.equal(clock.timers, 0);
  });

  it('is told of a publisher that began after the room was opened, from its first item on', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await settled();
    await publish(subjects.beat, [], { publisher: 'q', counter: 5 });
    await publish(subjects.room('r'), ['4'], { publisher: 'q', counter: 4, beat: 6 });
    assert.deepEqual(shards[0]!.missed, [], 'whether it began before, nobody knew then');
    clock.advance(2_500);
    await publish(subjects.beat, [], { publisher: 'q', counter: 8 });
    const [late, later] = [roomKey('late'), roomKey('later')];
    for (const key of [late, later]) forms(shards[0]!, key, Form.v1);
    await settled();
    await publish(subjects.room('late'), ['4'], { publisher: 'q', counter: 4, beat: 9 });
    await publish(subjects.room('later'), ['4'], { publisher: 'q', counter: 4, beat: 8 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: late, items: 3, reason: 'bus_gap' }]);
  });

  it('is told within a second where it was the last of its room: its publisher says how far it counted', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { counter: 1 });
    await publish(subjects.room('r'), [], { counter: 3 });
    clock.advance(1_000);
    await publish(subjects.room('r'), [], { counter: 3 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 1, reason: 'bus_gap' }]);
    assert.equal(shards[0]!.batches.length, 1);
    assert.equal(await counted('gaps_total'), 1);
  });

  it('that goes no further, since it is a retry, is named to those who look for gaps', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('r'), ['1', '2'], { id: 'k' });
    await publish(subjects.room('r'), ['3']);
    clock.advance(1_000);
    const texts = shards[0]!.batches.map(({ frames }) => frames[0]?.bytes.toString());
    assert.deepEqual(texts, [
      '{"type":"PUSH","data":{"room":"r","ids":[["p",1,1]],"items":[1]}}',
      '{"type":"PUSH","data":{"room":"r","ids":[["p",2,0,2],["p",4,1]],"items":[3]}}',
    ]);
    assert.deepEqual(shards[0]!.missed, []);
  });

  it('may come again on another gateway: what was pushed with an id carries what tells that', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1', '2'], { id: 'abcdefghijklmnopqrstuv/0' });
    await publish(subjects.room('r'), ['3'], { id: 'abcdefghijklmnopqrstuv/12' });
    await publish(subjects.room('r'), ['4'], { id: 'a former version’s "id"/0' });
    clock.advance(1_000);
    const ids = shards[0]!.batches.flatMap(({ frames }) => JSON.parse(`${frames[0]?.bytes}`).data.ids);
    assert.deepEqual(ids, [
      ['p', 1, 2, 'abcdefghij'],
      ['p', 3, 1, 'abcdefghij.12'],
      ['p', 4, 1],
    ]);
  });

  it('is dropped where it comes again, whole or in part', async () => {
    forms(shards[0]!, ROOM, Form.plain | Form.v1);
    await publish(subjects.room('r'), ['1', '2'], { counter: 1 });
    await publish(subjects.room('r'), ['1', '2'], { counter: 1 });
    await publish(subjects.room('r'), ['2', '3', '4'], { counter: 2 });
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4]);
    const last = shards[0]!.batches.at(-1)?.frames.find(({ form }) => form === Form.v1);
    assert.match(last?.bytes.toString() ?? '', /"ids":\[\["p",3,2\]\]/);
    assert.deepEqual(shards[0]!.missed, []);
  });

  it('is dropped where a retry with the same id comes from another publisher, for two minutes', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    clock.advance(119_999);
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1]);
    assert.equal(await counted('push_retries_dropped_total'), 2);
    clock.advance(1);
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 1]);
    assert.deepEqual(shards[0]!.missed, [], 'a retry that was dropped is no gap');
  });

  it('is known by its target too: the same id in another room is another push', async () => {
    const other = roomKey('s');
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, other, Form.plain);
    forms(shards[0]!, ALL, Form.plain);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('s'), ['2'], { id: 'k' });
    await publish(subjects.all, ['3'], { id: 'k' });
    assert.deepEqual(
      [plainItems(shards[0]!, ROOM), plainItems(shards[0]!, other), plainItems(shards[0]!, ALL)],
      [[1], [2], [3]],
    );
  });

  it('is no retry where names and ids only look alike when they are written after each other', async () => {
    const [short, long] = [roomKey('a'), roomKey('a\nb')];
    for (const key of [short, long]) forms(shards[0]!, key, Form.plain);
    await publish(subjects.room('a\nb'), ['1'], { id: 'c' });
    await publish(subjects.room('a'), ['2'], { id: 'b\nc' });
    assert.deepEqual([plainItems(shards[0]!, long), plainItems(shards[0]!, short)], [[1], [2]]);
  });

  it('by a room’s overload policy is told before the frame that it was cut from', async () => {
    start(settingsWith({ rooms: [{ match: 'r', overload: { maxRate: 3, policy: 'dropNewest' } }] }));
    forms(shards[0]!, ROOM, Form.plain);
    for (let i = 1; i <= 10; i++) await publish(subjects.room('r'), [`${i}`]);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3]);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 7, reason: 'overload' }]);
    assert.deepEqual(shards[0]!.order, ['frames', 'missed', 'frames']);
  });

  it('as garbage on the bus is counted and harms nothing', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    const garbage = [Buffer.of(), Buffer.of(0), Buffer.from('hello'), Buffer.from(`${VERSION_1.slice(0, -2)}`, 'hex')];
    for (const subject of [subjects.room('r'), subjects.all, subjects.user, subjects.command])
      for (const bytes of garbage) held.local.publish(subject, bytes);
    held.local.publish(subjects.session, Buffer.from('{"user":1}'));
    await settled();
    assert.equal(await counted('bus_messages_ignored_total'), 16);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1]);
  });
});

describe('a push to users', () => {
  it('reaches those who are here and nobody else', async () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    forms(shards[1]!, userKey('bob'), Form.plain | Form.v1);
    await publishToUsers(
      [
        { users: ['ann', 'nobody'], texts: ['1', '2'] },
        { users: ['nobody'], texts: ['3'] },
        { users: ['bob', 'ann'], texts: ['4'] },
      ],
      1,
    );
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('ann')), [1, 2, 4]);
    assert.deepEqual(plainItems(shards[1]!, userKey('bob')), [4]);
    const v1 = shards[1]!.batches[0]?.frames.find(({ form }) => form === Form.v1);
    assert.equal(v1?.bytes.toString(), '{"type":"PUSH","data":{"user":true,"ids":[["p",4,1]],"items":[4]}}');
  });

  it('is opened at once: there is one subscription for all users', () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    assert.equal(shards[0]!.messagesOf('subscribed').length, 1);
  });

  it('is encoded once for all of them', async () => {
    for (let i = 0; i < 50; i++) forms(shards[i % 2]!, userKey(`u${i}`), i % 3 ? Form.plain : Form.v1 | Form.plain);
    await publishToUsers([{ users: Array.from({ length: 50 }, (_, i) => `u${i}`), texts: ['1', '2'] }], 1);
    const frames = shards.flatMap(({ batches }) => batches.flatMap(({ frames }) => frames));
    assert.equal(frames.length, 50 + 17);
    for (const form of [Form.plain, Form.v1])
      assert.equal(new Set(frames.filter((frame) => frame.form === form).map(({ bytes }) => bytes)).size, 1);
    await publishToUsers([{ users: ['u0'], texts: ['3'] }], 3);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('u0')), [1, 2, 3]);
  });

  it('drops repeats and retries by id, entry by entry', async () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    const entries = [
      { users: ['ann'], texts: ['1', '2'] },
      { users: ['ann'], texts: ['3'], id: 'k' },
    ];
    await publishToUsers(entries, 1);
    await publishToUsers(entries, 1);
    // The last item of the first entry is new.
    await publishToUsers([{ users: ['ann'], texts: ['3', '4'] }], 3);
    await publishToUsers([{ users: ['ann'], texts: ['3'], id: 'k' }], 5);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('ann')), [1, 2, 3, 4]);
  });

  it('with the id of a push to another user is another push, from pods of the former version too', async () => {
    for (const name of ['ann', 'bob']) forms(shards[0]!, userKey(name), Form.plain);
    await publishToUsers([{ users: ['ann'], texts: ['1'], id: 'k/0' }], 1);
    await publishToUsers([{ users: ['bob'], texts: ['2'], id: 'k/0' }], 2);
    await publishToUsers([{ users: ['ann'], texts: ['1'], id: 'k/0' }], 3);
    clock.advance(1_000);
    assert.deepEqual([plainItems(shards[0]!, userKey('ann')), plainItems(shards[0]!, userKey('bob'))], [[1], [2]]);
  });

  it('that is lost is counted, though nobody knows whose it was', async () => {
    await publishToUsers([{ users: ['x'], texts: ['1'] }], 1);
    await publishToUsers([{ users: ['x'], texts: ['9'] }], 9);
    assert.equal(await counted('gaps_total'), 7);
    assert.ok(shards.every(({ missed }) => missed.length === 0));
  });
});

describe('the hub', () => {
  it('is ready once its subscriptions are', async () => {
    start();
    assert.equal(hub.ready, false);
    await settled();
    assert.equal(hub.ready, true);
  });

  it('says when the bus goes away and comes back, and whether it is there, by a receipt', async () => {
    held.tell({ type: 'disconnected', reason: 'cut' });
    held.answers = false;
    hub.receive(shards[0]!, { type: 'verify', receipt: 1 });
    await settled();
    clock.advance(0);
    held.tell({ type: 'connected', reconnects: 1 });
    assert.deepEqual(shards[1]!.messagesOf('bus'), [
      { type: 'bus', connected: false },
      { type: 'bus', connected: true },
    ]);
    assert.deepEqual(shards[0]!.messagesOf('verified'), []);
    // A receipt that failed for something that was refused: the bus is there.
    hub.receive(shards[0]!, { type: 'verify', receipt: 2 });
    await settled();
    clock.advance(0);
    held.answers = true;
    hub.receive(shards[0]!, { type: 'verify', receipt: 3 });
    await settled();
    assert.deepEqual(
      shards[0]!.messagesOf('verified').map(({ receipt }) => receipt),
      [2, 3],
    );
    assert.deepEqual(shards[1]!.messagesOf('verified'), []);
  });

  it('passes disconnects on to every shard', async () => {
    for (const command of [
      { type: 'disconnect_user', user: 'u', reason: 'banned' },
      { type: 'disconnect_room', room: 'r', reason: 'over' },
    ])
      held.local.publish(subjects.command, Buffer.from(JSON.stringify(command)));
    await settled();
    for (const shard of shards) {
      assert.deepEqual(shard.messagesOf('disconnectUser'), [{ type: 'disconnectUser', user: 'u', reason: 'banned' }]);
      assert.deepEqual(shard.messagesOf('disconnectRoom'), [{ type: 'disconnectRoom', room: 'r', reason: 'over' }]);
    }
  });

  it('answers questions with the sum of its shards, asking those that listen', async () => {
    start(settingsWith(), 3);
    shards[2]!.listening = false;
    const answers = replies();
    const ask = command;
    await ask({ type: 'room', ask: '1', room: 'r' });
    for (const shard of shards.slice(0, 2))
      hub.receive(shard, { type: 'answer', answer: { type: 'room', ask: '1', connections: 4 } });
    await ask({ type: 'user', ask: '2', user: 'u' });
    hub.receive(shards[0]!, { type: 'answer', answer: { type: 'user', ask: '2', connections: 1 } });
    clock.advance(300);
    await ask({ type: 'rooms', ask: '3', limit: 2 });
    const rooms = [
      [
        { room: 'a', connections: 5 },
        { room: 'b', connections: 3 },
      ],
      [
        { room: 'b', connections: 4 },
        { room: 'c', connections: 1 },
      ],
    ];
    for (const [i, list] of rooms.entries())
      hub.receive(shards[i]!, { type: 'answer', answer: { type: 'rooms', ask: asked(shards[i]!), rooms: list } });
    await ask({ type: 'stats', ask: '4' });
    await settled();
    const [room, user, fullest, stats] = answers;
    assert.deepEqual(room, { type: 'room', ask: '1', gateway: 'g1', gateways: 3, connections: 8 });
    assert.deepEqual(user, { type: 'user', ask: '2', gateway: 'g1', gateways: 3, connections: 1, missing: 1 });
    assert.deepEqual(fullest, {
      type: 'rooms',
      ask: '3',
      gateway: 'g1',
      gateways: 3,
      total: 0,
      missing: 0,
      rooms: [
        { room: 'b', connections: 7 },
        { room: 'a', connections: 5 },
      ],
    });
    assert.equal(stats?.type === 'stats' && stats.stats.gateway, 'g1');
    assert.deepEqual(shards[2]!.messagesOf('ask'), []);
  });

  it('asks its shards for the fullest rooms once a second, however many ask, and each gets what it asked for', async () => {
    const answers = replies();
    for (let i = 0; i < 300; i++) await command({ type: 'rooms', ask: `a${i}`, limit: 1 + (i % 3) });
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    assert.equal(answers.length, 0);
    const rooms = ['a', 'b', 'c'].map((room, i) => ({ room, connections: 9 - i }));
    const answer = () => {
      for (const shard of shards)
        hub.receive(shard, { type: 'answer', answer: { type: 'rooms', ask: asked(shard), rooms } });
    };
    answer();
    await settled();
    assert.equal(answers.length, 300);
    clock.advance(999);
    await command({ type: 'rooms', ask: 'soon', limit: 2 });
    assert.equal(answers.length, 301);
    for (const [i, one] of answers.slice(0, 300).entries())
      assert.deepEqual(
        one.type === 'rooms' && one.rooms.map(({ room }) => room),
        ['a', 'b', 'c'].slice(0, 1 + (i % 3)),
      );
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    clock.advance(1);
    await command({ type: 'rooms', ask: 'later', limit: 2 });
    assert.equal(shards[0]!.messagesOf('ask').length, 2);
    answer();
    await settled();
    assert.equal(answers.at(-1)?.ask, 'later');
  });

  it('cuts the list of rooms by bytes, whatever they are named, and says how many there are', async () => {
    const answers = replies();
    const names = [0x01, 0x22, 0x5c, 0x7f, 0x61].map((code) => String.fromCharCode(code).repeat(124));
    const rooms = Array.from({ length: 4_000 }, (_, i) => ({ room: `${names[i % 5]}${i}`, connections: 2 }));
    for (const { room } of rooms) forms(shards[0]!, roomKey(room), Form.plain);
    assert.equal(hub.rooms, 4_000);
    await command({ type: 'rooms', ask: 'q', limit: 4_000 });
    for (const shard of shards)
      hub.receive(shard, { type: 'answer', answer: { type: 'rooms', ask: asked(shard), rooms } });
    await settled();
    const [answer] = answers;
    assert.ok(answer?.type === 'rooms');
    assert.ok(answer.rooms.length > 500 && answer.rooms.length < 4_000, `${answer.rooms.length} rooms`);
    assert.equal(answer.total, 4_000);
    assert.equal(await counted('internal_errors_total'), 0);
  });

  it('says where a shard was too busy to answer, and keeps no list that lacks something', async () => {
    const answers = replies();
    await command({ type: 'rooms', ask: 'q', limit: 10 });
    hub.receive(shards[1]!, { type: 'answer', answer: { type: 'rooms', ask: asked(shards[1]!), rooms: [] } });
    clock.advance(300);
    await settled();
    assert.ok(answers[0]?.type === 'rooms');
    assert.equal(answers[0].missing, 1);
    await command({ type: 'rooms', ask: 'r', limit: 10 });
    assert.equal(shards[0]!.messagesOf('ask').length, 2);
  });

  it('says in its stats how many of its shards have yet to count', async () => {
    const answers = replies();
    shards[0]!.counts = undefined;
    await command({ type: 'stats', ask: 's' });
    assert.equal(answers[0]?.missing, 1);
  });

  it('goes on after a message of the bus that it could not follow, which is counted', async () => {
    const { send } = shards[0]!;
    shards[0]!.send = () => {
      throw new Error('no');
    };
    await command({ type: 'disconnect_user', user: 'u', reason: 'x' });
    shards[0]!.send = send;
    await command({ type: 'disconnect_user', user: 'v', reason: 'x' });
    assert.equal(await counted('internal_errors_total'), 1);
    assert.equal(shards[0]!.messagesOf('disconnectUser').length, 1);
  });

  it('counts an answer that the bus does not take, and goes on', async () => {
    const { publish } = held.local;
    held.local.publish = (subject, bytes) => {
      if (subject === 'reply.1') throw new RangeError('over the bus’s limit');
      publish.call(held.local, subject, bytes);
    };
    await command({ type: 'stats', ask: 's' });
    await command({ type: 'room', ask: 'r', room: 'r' });
    clock.advance(300);
    assert.equal(await counted('internal_errors_total'), 2);
  });

  it('lets a newer session of a user replace the older on other shards and gateways, and not its own', async () => {
    const notices: SessionOpened[] = [];
    held.local.subscribe(subjects.session, (bytes) =>
      notices.push(SessionOpened.parse(JSON.parse(Buffer.from(bytes).toString()))),
    );
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    await settled();
    assert.deepEqual(
      notices.map(({ gateway, user }) => [gateway, user]),
      [['g1', 'u']],
    );
    assert.deepEqual(shards[0]!.messagesOf('replaced'), []);
    assert.deepEqual(shards[1]!.messagesOf('replaced'), [{ type: 'replaced', user: 'u', upTo: 0 }]);
    const order = notices[0]!.order! + 1;
    held.local.publish(subjects.session, Buffer.from(JSON.stringify({ gateway: 'g2', user: 'u', at: 9, order })));
    await settled();
    assert.deepEqual(
      shards.map((shard) => shard.messagesOf('replaced').at(-1)?.upTo),
      [7, 0],
      'those that it told of',
    );
  });

  it('goes by when shards opened sessions of a user, not by when it heard of them', async () => {
    const notices: SessionOpened[] = [];
    held.local.subscribe(subjects.session, (bytes) =>
      notices.push(SessionOpened.parse(JSON.parse(Buffer.from(bytes).toString()))),
    );
    clock.advance(10_000);
    const now = clock.now();
    hub.receive(shards[1]!, { type: 'session', user: 'u', session: 3, at: now - 4_000 });
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: now - 5_000 });
    await settled();
    assert.deepEqual(
      shards.map((shard) => shard.messagesOf('replaced').map(({ upTo }) => upTo)),
      [[0, 7], []],
      'the later one stays',
    );
    const order = WALL + now - 4_000;
    assert.deepEqual(
      notices.map((word) => word.order),
      [order],
      'one that was opened elsewhere since is newer',
    );
  });

  it('takes the word of an older version, which has no order, for the newest', async () => {
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    held.local.publish(subjects.session, Buffer.from(JSON.stringify({ gateway: 'g2', user: 'u', at: 9 })));
    await settled();
    assert.deepEqual(shards[0]!.messagesOf('replaced'), [{ type: 'replaced', user: 'u', upTo: 7 }]);
  });

  it('goes on where the bus is closed under it', async () => {
    await held.local.close();
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    assert.equal(shards[1]!.messagesOf('replaced').length, 1);
  });
});
