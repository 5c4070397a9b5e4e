import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { type BusEvent, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import type { Extract, Heads, HistoryStore, StoredPush } from '@pushcluster/runtime/history/historyStore.ts';
import fc from 'fast-check';
import { roomKey } from '../../ipc/channelKey.ts';
import { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Merger } from '../merger.ts';
import type { MessagePart } from '../messagePart.ts';
import { HistoryInlet } from './historyInlet.ts';
import { HistoryMonitor } from './historyMonitor.ts';
import { RingBudget } from './roomRing.ts';

const MATCH = '*';
const ROOM = 'r';
const settings = Settings.parse({ rooms: [{ match: MATCH, history: {} }] });

/** A message as it was delivered. */
type Delivery = { seq: number; previous: number; bytes: Uint8Array };

/** A store that is as slow, as behind and as forgetful as a test wants. */
class FakeStore implements Pick<HistoryStore, 'state' | 'read' | 'at' | 'heads' | 'streamOf'> {
  streamOf = () => 'stream';
  pushes: StoredPush[] = [];
  last = 0;
  epoch = 'first';
  messages = 1_000;
  maxAge = 3_600_000;
  /** Rejects everything. */
  away = false;
  /** Has no leader, which alone knows its state. */
  leaderless = false;
  /** Rejects reads. */
  unreadable = false;
  /** Rejects questions about the last pushes. */
  headless = false;
  /** Servers other than the leader know nothing after this number. */
  knownUpTo = Number.POSITIVE_INFINITY;
  reads = 0;

  /** @param size bytes of the item, with white space behind it, if that is more */
  append(item: number, size = 0): Delivery {
    const previous = this.pushes.at(-1)?.seq ?? 0;
    // Other rooms take numbers in between.
    this.last += 1 + (item % 3);
    const bytes = encodePush({
      ...{ publisher: 'p', counter: item, at: 0, begun: 0, beat: 1, mark: 1, first: 1, urgent: false, id: '' },
      items: joinItems([Buffer.from(String(item).padEnd(size))]),
    });
    this.pushes.push({ seq: this.last, at: 0, bytes });
    if (this.pushes.length > this.messages) this.pushes.shift();
    return { seq: this.last, previous, bytes };
  }

  async state() {
    this.#checkIsThere();
    if (this.leaderless) throw new BusUnconfirmed('no answer');
    return { epoch: this.epoch, last: this.last, floor: 0, messages: this.messages, maxAge: this.maxAge };
  }

  async read(_match: string, _room: string, from: number, limit: number, fresh = false): Promise<Extract> {
    this.#checkIsThere();
    if (this.unreadable) throw new BusUnconfirmed('no answer');
    this.reads++;
    const known = fresh ? this.pushes : this.pushes.filter(({ seq }) => seq <= this.knownUpTo);
    const found = known.filter(({ seq }) => seq >= from);
    const size = fresh ? 1 : limit;
    return { pushes: found.slice(0, size), pending: fresh ? undefined : Math.max(0, found.length - size) };
  }

  async at(_match: string, seq: number) {
    this.#checkIsThere();
    return this.pushes.find((push) => push.seq === seq)?.bytes;
  }

  async heads(_match: string, rooms: readonly string[], after: number): Promise<Heads> {
    this.#checkIsThere();
    if (this.headless) throw new BusUnconfirmed('no answer');
    const last = this.pushes.filter(({ seq }) => seq <= this.knownUpTo).at(-1)?.seq ?? 0;
    if (last <= after) return { seqs: new Map(), upTo: undefined };
    return { seqs: new Map(rooms.map((room) => [room, last])), upTo: Math.min(this.last, this.knownUpTo) };
  }

  #checkIsThere() {
    if (this.away) throw new BusUnconfirmed('no answer');
  }
}

/** A room that a test delivers messages to. */
class Fixture {
  /** How many parts had been taken whenever what was pending was sent. */
  readonly flushedAfter: number[] = [];
  readonly clock = new FakeClock();
  readonly store = new FakeStore();
  readonly taken: MessagePart[] = [];
  lost = 0;
  readonly counts: Record<string, number> = {};
  readonly inlet: HistoryInlet;
  readonly monitor: HistoryMonitor;
  #listener: (event: BusEvent) => void = () => {};

  constructor() {
    const counter = (name: string) => ({
      inc: (value: unknown = 1) => {
        this.counts[name] = (this.counts[name] ?? 0) + (typeof value === 'number' ? value : 1);
      },
    });
    const metrics = {
      historyReads: counter('reads'),
      historyStaleAnswers: counter('stale'),
      historyRepairs: counter('repairs'),
      recoveredMessages: counter('recovered'),
      historyResets: counter('resets'),
    } as never;
    const onEvent = (listener: (event: BusEvent) => void) => {
      this.#listener = listener;
      return () => {};
    };
    const store = this.store as unknown as HistoryStore;
    const monitor = new HistoryMonitor({
      store,
      match: MATCH,
      bus: { onEvent },
      clock: this.clock,
      metrics,
      failed: () => {},
    });
    this.monitor = monitor;
    const merger = {
      merge: (_: HubChannel, part: MessagePart) => this.taken.push(part),
      reset: () => {
        this.lost++;
      },
      flush: () => this.flushedAfter.push(this.taken.length),
      lose: () => {
        this.lost++;
      },
    } as unknown as Merger;
    const ignored = { decode: (bytes: Uint8Array, decode: (b: Uint8Array) => unknown) => decode(bytes) };
    this.inlet = new HistoryInlet(new HubChannel(roomKey(ROOM), settings), ROOM, {
      ...{ monitor, merger, metrics, clock: this.clock, budget: new RingBudget() },
      ignored: ignored as unknown as IgnoredMessages,
      failed: () => {},
      log: { warn: () => {}, error: () => {} } as never,
    });
  }

  /** Items in the order in which they were taken. */
  get items(): number[] {
    return this.taken.map(({ items }) => Number(Buffer.from(items.bytes).toString()));
  }

  deliver({ seq, previous, bytes }: Delivery, stream = 'stream'): void {
    const values: Record<string, string> = {
      'Nats-Stream': stream,
      'Nats-Sequence': String(seq),
      'Nats-Last-Sequence': String(previous),
    };
    const headers = { get: (name: string) => values[name] ?? '', has: () => true, code: 0, description: '' };
    this.inlet.accept(bytes, { headers });
  }

  away(): void {
    this.#listener({ type: 'disconnected', reason: 'cut' });
  }

  connected(): void {
    this.#listener({ type: 'connected', reconnects: 1 });
  }

  /** Lets what was asked be answered, and time pass. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
      this.clock.advance(50);
    }
    for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
  }

  /** Subscribed, and told where the room begins. */
  static async begun(): Promise<Fixture> {
    const fixture = new Fixture();
    fixture.inlet.subscribed();
    await fixture.pass(50);
    return fixture;
  }
}

/** Each taken part follows the one before. */
function assertChained({ taken }: Fixture) {
  for (const [i, { position }] of taken.entries())
    if (i > 0) assert.equal(position?.previous, taken[i - 1]!.position?.seq, `part ${i}`);
}

describe('the inlet of a room with a history', () => {
  it('takes what is delivered in order, with its position', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5]);
    assert.deepEqual(fixture.taken[0]!.position, { seq: 2, previous: 0, epoch: 'first' });
    assertChained(fixture);
    assert.equal(fixture.store.reads, 0);
  });

  it('takes nothing twice, however late it comes again', async () => {
    const fixture = await Fixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of [...deliveries, deliveries[1]!, deliveries[0]!, deliveries[2]!]) fixture.deliver(delivery);
    assert.deepEqual(fixture.items, [1, 2, 3]);
  });

  it('names the history of what was taken before anybody could, unless it was sent', async () => {
    const fixture = new Fixture();
    fixture.store.away = true;
    fixture.inlet.subscribed();
    fixture.store.append(1);
    const deliveries = [2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    await fixture.pass(2_500);
    assert.deepEqual(fixture.items, [2, 3]);
    assert.deepEqual(
      fixture.taken.map(({ position }) => position?.epoch),
      [undefined, undefined],
    );
    fixture.inlet.framesSent({ epoch: undefined, seq: deliveries[0]!.seq });
    fixture.inlet.adopt('first');
    assert.deepEqual(
      fixture.taken.map(({ position }) => position?.epoch),
      [undefined, 'first'],
    );
  });

  it('sends what a member that is ahead has in frames of its own', async () => {
    const fixture = await Fixture.begun();
    const deliveries = [1, 2, 3, 4].map((i) => fixture.store.append(i));
    fixture.deliver(deliveries[0]!);
    fixture.inlet.isAhead(deliveries[1]!.seq);
    for (const delivery of deliveries.slice(1)) fixture.deliver(delivery);
    assert.deepEqual(fixture.flushedAfter, [2]);
    const { seq } = deliveries[3]!;
    fixture.inlet.framesSent({ epoch: 'first', seq });
    const later = fixture.store.append(5);
    fixture.inlet.isAhead(later.seq - 1);
    fixture.deliver(later);
    assert.deepEqual(fixture.flushedAfter, [2], 'nothing was pending');
  });

  it('reads what did not come once the next one does, and holds that until then', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    for (let i = 2; i <= 9; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(10));
    assert.deepEqual(fixture.items, [1]);
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assertChained(fixture);
    assert.deepEqual([fixture.counts.repairs, fixture.lost], [1, 0]);
  });

  it('finds the last push although nothing follows it', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    await fixture.pass(4_000);
    assert.deepEqual(fixture.items, [1, 2]);
  });

  it('compares at once when the bus is back', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    fixture.connected();
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [1, 2]);
  });

  it('begins after what was pushed before it was subscribed', async () => {
    const fixture = new Fixture();
    fixture.store.append(1);
    fixture.inlet.subscribed();
    const second = fixture.store.append(2);
    fixture.deliver(second);
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [2]);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
  });

  it('begins with what is delivered where the store cannot be asked', async () => {
    const fixture = new Fixture();
    fixture.store.away = true;
    fixture.inlet.subscribed();
    fixture.store.append(1);
    fixture.deliver(fixture.store.append(2));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, []);
    await fixture.pass(1_500);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
    assert.equal(fixture.taken[0]!.position?.epoch, undefined, 'nobody has said which history it is');
    fixture.store.away = false;
    await fixture.pass(2_000);
    fixture.deliver(fixture.store.append(4));
    assert.equal(fixture.taken.at(-1)!.position?.epoch, 'first');
  });

  it('reads again until a server that is behind has caught up', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.knownUpTo = fixture.store.last;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(100);
    fixture.store.knownUpTo = Number.POSITIVE_INFINITY;
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('asks the leader where the others stay behind', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.knownUpTo = fixture.store.last;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(5_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('waits for a server that is behind where the leader cannot say whether limits have removed something', async () => {
    const fixture = new Fixture();
    fixture.store.last = 500;
    fixture.inlet.subscribed();
    await fixture.pass(50);
    fixture.store.knownUpTo = 500;
    fixture.store.append(1);
    fixture.deliver(fixture.store.append(2));
    // Pushes of other rooms.
    fixture.store.last += 1_000;
    await fixture.pass(1_500);
    fixture.store.knownUpTo = Number.POSITIVE_INFINITY;
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2], 0]);
  });

  it('goes on where limits have removed what it wanted, and tells that something is missing', async () => {
    const fixture = await Fixture.begun();
    fixture.store.messages = 3;
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(1_000);
    for (let i = 2; i <= 9; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(10));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, [1, 8, 9, 10]);
    assert.equal(fixture.lost, 1);
  });

  it('tells of nothing where what it took last has expired and nothing else', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(2_000);
    fixture.store.pushes = [];
    const next = fixture.store.append(2);
    assert.equal(next.previous, 0);
    fixture.deliver(next);
    await fixture.pass(100);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2], 0]);
  });

  it('begins anew where the history was made anew', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_500);
    fixture.deliver(fixture.store.append(6));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(fixture.taken.at(-1)!.position, { seq: 1, previous: 0, epoch: 'second' });
    assert.equal(fixture.lost, 1);
  });

  it('takes all pushes of a history that was made anew, from the first whose number it had before', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    for (let i = 6; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5], 'nothing is passed on before it is known which history it is of');
    await fixture.pass(100);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert.deepEqual(
      new Set(fixture.taken.slice(5).map(({ position }) => position?.epoch)),
      new Set(['second']),
      'none counts in the first',
    );
    assert.equal(fixture.lost, 1);
  });

  it('takes all pushes after the history was set back, once it is another one', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 10; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_000);
    assert.equal(fixture.items.length, 9, 'whose numbers these are nobody has said yet');
    fixture.store.epoch = 'second';
    // Another room has the last number.
    fixture.store.last += 10;
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items.slice(9), [10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('takes a push that was given the last number again, although the stream has yet to become another history', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(2);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    const again = fixture.store.append(6);
    fixture.deliver(again);
    await fixture.pass(200);
    assert.equal(again.seq, 6);
    fixture.store.epoch = 'second';
    await fixture.pass(300);
    fixture.deliver(fixture.store.append(7));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 6, 7], 1]);
  });

  it('drops a push of a stream that is gone whose number came with another one, and goes on', async () => {
    const fixture = await Fixture.begun();
    const late = fixture.store.append(1);
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_100);
    fixture.deliver(fixture.store.append(4));
    assert.equal(late.seq, 2);
    fixture.deliver(late);
    fixture.deliver(fixture.store.append(5));
    await fixture.pass(3_000);
    assert.deepEqual([fixture.items, fixture.lost], [[4, 5], 1]);
  });

  it('believes no former leader because nobody could be asked for long', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_100);
    const { last } = fixture.store;
    fixture.store.last = 2;
    await fixture.pass(1_100);
    assert.ok(fixture.monitor.isUncertain);
    fixture.store.away = true;
    await fixture.pass(17_000);
    assert.ok(!fixture.monitor.isUncertain, 'what comes is believed');
    fixture.store.away = false;
    await fixture.pass(1_500);
    fixture.store.last = last;
    await fixture.pass(1_500);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4, 5], 0]);
  });

  it('tells how far the stream had come, also once it was set back and in the history before', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    const { last } = fixture.store;
    assert.deepEqual([...fixture.monitor.reached], [['first', last]]);
    fixture.deliver({ seq: last + 500, previous: last + 400, bytes: fixture.store.pushes[0]!.bytes });
    fixture.store.last = 2;
    fixture.store.pushes.splice(1);
    await fixture.pass(20_000);
    assert.deepEqual([...fixture.monitor.reached], [['first', last]], 'what was not taken is left out');
    Object.assign(fixture.store, { epoch: 'second', last: 3 });
    await fixture.pass(1_100);
    assert.deepEqual(
      [...fixture.monitor.reached],
      [
        ['first', last],
        ['second', 3],
      ],
    );
  });

  it('believes nothing after it was away where a leader has another push in place of the last one, until it names the history', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.away();
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 8; i <= 10; i++) fixture.store.append(i);
    fixture.connected();
    await fixture.pass(3_000);
    fixture.deliver(fixture.store.append(11));
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5]);
    fixture.store.epoch = 'second';
    await fixture.pass(1_000);
    fixture.deliver(fixture.store.append(12));
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items.at(-1), fixture.lost, fixture.inlet.epoch], [12, 1, 'second']);
  });

  it('takes all pushes after the history was set back where nobody but this gateway notices, once that is certain', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_050);
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 10; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(20_000);
    assert.deepEqual(fixture.items.slice(9), [10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('reads nothing in place of what was set back', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    const { pushes } = fixture.store;
    // Another room had the last number, and no server said how far it knew this one.
    fixture.store.last += 100;
    fixture.store.headless = true;
    await fixture.pass(1_050);
    fixture.store.headless = false;
    pushes.splice(2);
    fixture.store.last = pushes.at(-1)!.seq;
    for (let i = 6; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(3_000);
    fixture.store.epoch = 'second';
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('takes nothing that a read brings in place of what was set back', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.unreadable = true;
    fixture.store.append(6);
    fixture.deliver(fixture.store.append(7));
    fixture.store.last += 100;
    await fixture.pass(1_050);
    const { pushes } = fixture.store;
    pushes.splice(2);
    fixture.store.last = pushes.at(-1)!.seq;
    for (let i = 8; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.unreadable = false;
    await fixture.pass(3_000);
    fixture.store.epoch = 'second';
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('holds about 512 KiB of pushes whose history is not known, and reads those beyond', async () => {
    const fixture = await Fixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.store.leaderless = true;
    fixture.deliver(deliveries[1]!);
    for (let i = 4; i <= 18; i++) fixture.deliver(fixture.store.append(i, 100_000));
    await fixture.pass(21_000);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    assert.deepEqual(
      fixture.items,
      Array.from({ length: 18 }, (_, i) => i + 1),
    );
    assert.equal(fixture.counts.recovered, 9);
  });

  it('tells of a loss if it ends while it is not known which history pushes are of', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    fixture.deliver(fixture.store.append(6));
    fixture.inlet.close();
    assert.equal(fixture.lost, 1);
  });

  it('is held up by late repeats for no longer than a look at the store takes, and takes none of them', async () => {
    const fixture = await Fixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    // The ring has given up what it had of them.
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.deliver(deliveries[1]!);
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(50);
    fixture.deliver(fixture.store.append(5));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4, 5], 0]);
  });

  it('goes on where the store does not say whether a repeat is of another history', async () => {
    const fixture = await Fixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.store.away = true;
    fixture.deliver(deliveries[1]!);
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(19_000);
    assert.deepEqual(fixture.items, [1, 2, 3]);
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4], 0]);
  });

  it('reads nothing after an outage before it knows which history it is', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 2; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    for (let i = 3; i <= 8; i++) fixture.store.append(i);
    fixture.store.leaderless = true;
    fixture.connected();
    fixture.deliver(fixture.store.append(9));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, [1, 2]);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    const others = fixture.taken.slice(2).map(({ position }) => position?.epoch);
    assert.ok(
      others.every((epoch) => epoch === 'second'),
      others.join(),
    );
    fixture.deliver(fixture.store.append(10));
    assert.deepEqual([fixture.items.at(-1), fixture.lost], [10, 1]);
  });

  it('takes nothing after an outage before it knows which history it is, though it has a larger number', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_100);
    fixture.away();
    // Other rooms have given the numbers again that this one had.
    Object.assign(fixture.store, { epoch: 'second', last: 100, leaderless: true });
    fixture.store.pushes.splice(1);
    fixture.connected();
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4], 1]);
    assert.equal(fixture.taken.at(-1)!.position?.epoch, 'second');
  });

  it('goes on after an outage where nobody says for long which history it is', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.away();
    fixture.store.leaderless = true;
    fixture.connected();
    fixture.deliver(fixture.store.append(2));
    await fixture.pass(25_000);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('places those who come after the history was made anew in the new one', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.inlet.framesSent({ seq: fixture.store.last, epoch: 'first' });
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_500);
    assert.deepEqual(fixture.inlet.place(), { epoch: 'second', seq: 0 });
    assert.equal(fixture.inlet.isPending, false);
  });

  it('tells of what limits removed, however many answers the rest takes', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(1_000);
    for (let i = 2; i <= 1_500; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(1_501));
    await fixture.pass(2_000);
    assert.deepEqual(fixture.items, [1, ...Array.from({ length: 1_000 }, (_, i) => 502 + i)]);
    assert.equal(fixture.lost, 1);
  });

  it('tells of what expired while the room was known to lack it', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.maxAge = 12_000;
    await fixture.pass(1_500);
    fixture.store.append(2);
    fixture.store.unreadable = true;
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(10_000);
    fixture.store.pushes.splice(0, 2);
    fixture.store.unreadable = false;
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 3], 1]);
  });

  it('begins anew in another history, although questions after the news of it failed', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.headless = true;
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    fixture.store.append(6);
    await fixture.pass(1_500);
    fixture.store.headless = false;
    fixture.deliver(fixture.store.append(7));
    await fixture.pass(1_000);
    assert.equal(fixture.items.at(-1), 7);
    assert.equal(fixture.lost, 1);
  });

  it('goes on where the numbers were set back, once that is certain', async () => {
    const fixture = await Fixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    await fixture.pass(20_000);
    fixture.deliver(fixture.store.append(10));
    await fixture.pass(1_000);
    assert.equal(fixture.items.at(-1), 10);
    assert.ok(fixture.lost > 0);
  });

  it('takes nothing that came before the history was set back and could not be read, and goes on', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    const third = fixture.store.append(3);
    fixture.store.pushes.splice(1);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    fixture.deliver(third);
    await fixture.pass(20_000);
    fixture.deliver(fixture.store.append(4));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 4], 1]);
  });

  describe('where an earlier history is named', () => {
    /** A room in the second history of its stream, with three pushes. */
    async function renewed(): Promise<Fixture> {
      const fixture = await Fixture.begun();
      Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
      await fixture.pass(1_100);
      for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
      assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 1]);
      return fixture;
    }

    it('holds what comes, and goes on once the present one is named again: a server that restarts knows it late', async () => {
      const fixture = await renewed();
      fixture.store.epoch = 'first';
      await fixture.pass(1_100);
      fixture.deliver(fixture.store.append(4));
      await fixture.pass(8_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3], 'second', 1]);
      await assert.rejects(fixture.inlet.read(1), 'nobody knows which history that would be');
      fixture.store.epoch = 'second';
      await fixture.pass(2_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 4], 'second', 1]);
      assertChained(fixture);
    });

    it('tells once that the stream was set back where it becomes another history soon', async () => {
      const fixture = await renewed();
      Object.assign(fixture.store, { epoch: 'first', last: fixture.store.pushes[0]!.seq });
      fixture.store.pushes.length = 1;
      await fixture.pass(5_000);
      fixture.deliver(fixture.store.append(5));
      fixture.store.epoch = 'third';
      await fixture.pass(2_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 5], 'third', 2]);
    });

    it('goes on in the earlier one if it stays', async () => {
      const fixture = await renewed();
      fixture.store.epoch = 'first';
      await fixture.pass(20_000);
      fixture.deliver(fixture.store.append(4));
      await fixture.pass(1_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 4], 'first', 2]);
    });
  });

  it('passes on what another history brings, and does not count by it', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    const [delivery] = [fixture.store.pushes[0]!];
    fixture.deliver({ seq: 5_005, previous: 5_004, bytes: delivery.bytes }, 'another');
    fixture.deliver(fixture.store.append(2));
    assert.deepEqual(fixture.items, [1, 1, 2]);
    assert.deepEqual(
      fixture.taken.map(({ position }) => position !== undefined),
      [true, false, true],
    );
  });

  it('takes what was pushed after it was subscribed, although the store knew of it before it was delivered', async () => {
    const fixture = new Fixture();
    fixture.store.append(1);
    fixture.inlet.subscribed();
    const second = fixture.store.append(2);
    await fixture.pass(50);
    fixture.deliver(second);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
  });

  it('gives up what cannot be read after a while, tells of it, and goes on', async () => {
    const fixture = await Fixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.unreadable = true;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(18_000);
    fixture.deliver(fixture.store.append(4));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 3, 4], 1]);
  });

  it('leaves nobody waiting for another look where the room, or its policy, goes during one', async () => {
    for (const goes of ['room', 'policy'] as const) {
      const fixture = await Fixture.begun();
      const outcomes: string[] = [];
      for (let i = 0; i < 2; i++)
        fixture.inlet.looked().then(
          () => outcomes.push('known'),
          () => outcomes.push('gone'),
        );
      if (goes === 'room') fixture.inlet.close();
      else fixture.monitor.close();
      await fixture.pass(50);
      assert.deepEqual(outcomes, goes === 'room' ? ['known', 'known'] : ['known', 'gone'], goes);
    }
  });

  it('takes everything once and in order, whatever is lost, late, repeated, behind or away', async () => {
    type Step = { type: 'push' | 'drop' | 'late' | 'pass' | 'away' | 'back' | 'behind' | 'caughtUp' | 'reconnect' };
    const steps = fc.array(
      fc.record({
        type: fc.constantFrom<Step['type']>(
          ...(['push', 'push', 'push', 'drop', 'drop', 'late', 'pass', 'away', 'back', 'behind', 'caughtUp'] as const),
          'reconnect',
        ),
      }),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const fixture = await Fixture.begun();
        const { store } = fixture;
        const late: Delivery[] = [];
        let pushed = 0;
        for (const { type } of all) {
          if (type === 'push') fixture.deliver(store.append(++pushed));
          if (type === 'drop') late.push(store.append(++pushed));
          if (type === 'late') for (const delivery of late.slice(-3)) fixture.deliver(delivery);
          if (type === 'pass') await fixture.pass(300);
          if (type === 'away') store.away = true;
          if (type === 'back') store.away = false;
          if (type === 'behind') store.knownUpTo = store.last;
          if (type === 'caughtUp') store.knownUpTo = Number.POSITIVE_INFINITY;
          if (type === 'reconnect') fixture.connected();
        }
        Object.assign(store, { away: false, knownUpTo: Number.POSITIVE_INFINITY });
        await fixture.pass(8_000);
        assert.deepEqual(
          fixture.items,
          Array.from({ length: pushed }, (_, i) => i + 1),
        );
        assertChained(fixture);
        assert.equal(fixture.lost, 0);
      }),
      { numRuns: 100 },
    );
  });
});
