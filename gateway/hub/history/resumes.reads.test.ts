import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import type { ResumeAnswer, ResumeFrom } from '../../ipc/resume.ts';
import { FakeShard } from '../../simulation/hub.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Delivery } from './fakeHistoryStore.ts';
import { InletFixture } from './inletFixture.ts';
import { Resumes } from './resumes.ts';
import { RingBudget } from './roomRing.ts';

type Resumed = Extract<ResumeAnswer, { type: 'resumed' }>;

const MAX_AGE_MS = 600_000;
/** Milliseconds for one answer. */
const DEADLINE_MS = 10_000;

/** A room that nobody is in, and then those who join it. */
class Joiners {
  readonly fixture: InletFixture;
  readonly recovered: string[] = [];
  readonly #resumes: Resumes;
  #asks = 0;

  constructor(messages: number, budget?: RingBudget) {
    this.fixture = new InletFixture(messages, budget);
    const { store, channel, clock } = this.fixture;
    [store.messages, store.maxAge, store.now] = [messages, MAX_AGE_MS, 0];
    this.#resumes = new Resumes({
      channel: () => channel,
      clock,
      ignored: { decode: (bytes: Uint8Array, decode: (b: Uint8Array) => unknown) => decode(bytes) } as IgnoredMessages,
      metrics: { resumes: { inc: ({ recovered }: { recovered: string }) => this.recovered.push(recovered) } } as never,
      failed: () => {},
    });
  }

  /** Items of the store begin with 1. */
  append(item: number, size = 0): Delivery {
    return this.fixture.store.append(item + 1, size);
  }

  async begin(): Promise<void> {
    this.fixture.inlet.subscribed();
    await this.fixture.pass(50);
    this.fixture.counts.reads = 0;
  }

  async ask(from: ResumeFrom, form: Form = Form.v1): Promise<Resumed> {
    const shard = new FakeShard(0);
    const asked = this.#resumes.resume(shard, this.fixture.channel.key, ++this.#asks, form, from);
    let isAnswered = false;
    void asked.then(() => {
      isAnswered = true;
    });
    // Other threads compress: they take their own time.
    const deadline = performance.now() + DEADLINE_MS;
    while (!isAnswered && performance.now() < deadline) await this.fixture.pass(50);
    const [message] = shard.messagesOf('resumed');
    assert.equal(message?.answer.type, 'resumed');
    return message.answer as Resumed;
  }

  last(count: number): Promise<number[]> {
    return this.all({ type: 'join', last: count });
  }

  /** All that a member is sent: items. */
  async all(from: ResumeFrom): Promise<number[]> {
    const items: number[] = [];
    let answer = await this.ask(from);
    for (;;) {
      assert.equal(answer.recovered, true);
      for (const frame of answer.frames) items.push(...itemsOf((frame as { text: string }).text));
      if (answer.isAll) return items;
      const { epoch } = answer.place;
      answer = await this.ask({ type: 'next', after: { epoch, seq: answer.frames.at(-1)!.seq } });
    }
  }

  get reads(): number {
    return this.fixture.counts.reads ?? 0;
  }
}

function itemsOf(text: string): number[] {
  return (JSON.parse(text) as { data: { items: number[] } }).data.items.map((item) => item - 1);
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe('the last pushes', () => {
  it('of a quiet room are read once, near its end, for all who ask', async () => {
    const joiners = new Joiners(5_000);
    for (const item of numbers(0, 5_000)) joiners.append(item);
    await joiners.begin();
    const all = await Promise.all(numbers(0, 33).map(() => joiners.last(50)));
    for (const items of all) assert.deepEqual(items, numbers(4_950, 5_000));
    for (let i = 0; i < 20; i++) assert.deepEqual(await joiners.last(50), numbers(4_950, 5_000));
    assert.ok(joiners.reads <= 2, `${joiners.reads} reads`);
    assert.deepEqual(joiners.recovered, [], 'they did not ask for what they missed');
  });

  it('are read once by those who ask for different numbers of them, the ring permitting', async () => {
    const joiners = new Joiners(5_000);
    for (const item of numbers(0, 5_000)) joiners.append(item);
    await joiners.begin();
    await Promise.all([30, 1_000, 70, 10].map((count) => joiners.last(count)));
    const { reads } = joiners;
    assert.ok(reads <= 12, `${reads} reads`);
    for (const count of [1, 500, 1_000]) assert.deepEqual(await joiners.last(count), numbers(5_000 - count, 5_000));
    assert.equal(joiners.reads, reads);
  });

  it('are all of them in a room that has fewer, or none', async () => {
    for (const count of [0, 1, 7]) {
      const joiners = new Joiners(5_000);
      for (const item of numbers(0, count)) joiners.append(item);
      await joiners.begin();
      for (let i = 0; i < 10; i++) assert.deepEqual(await joiners.last(50), numbers(0, count));
      assert.ok(joiners.reads <= 2, `${joiners.reads} reads`);
    }
  });

  it('are as many as the room keeps, if that is fewer, and then the ring has them', async () => {
    const joiners = new Joiners(100);
    for (const item of numbers(0, 300)) joiners.append(item);
    await joiners.begin();
    for (let i = 0; i < 10; i++) assert.deepEqual(await joiners.last(1_000), numbers(200, 300));
    assert.ok(joiners.reads <= 2, `${joiners.reads} reads`);
    joiners.fixture.deliver(joiners.append(300));
    joiners.fixture.inlet.framesSent({ epoch: 'first', seq: joiners.fixture.store.last });
    assert.deepEqual(await joiners.last(1_000), numbers(201, 301));
    assert.ok(joiners.reads <= 2, `${joiners.reads} reads`);
  });

  it('are found however they are spread over the stream', async () => {
    for (const [name, gapAfter] of [
      ['a burst at the end', (item: number) => (item < 100 ? 10_000 : 0)],
      ['a burst at the beginning', (item: number) => (item > 3_900 ? 10_000 : 0)],
      ['two bursts', (item: number) => (item === 2_000 ? 1_000_000 : 0)],
    ] as const) {
      const joiners = new Joiners(5_000);
      const { store } = joiners.fixture;
      for (const item of numbers(0, 4_000)) {
        joiners.append(item);
        store.last += gapAfter(item);
      }
      await joiners.begin();
      assert.deepEqual(await joiners.last(50), numbers(3_950, 4_000), name);
      assert.ok(joiners.reads <= 8, `${name}: ${joiners.reads} reads`);
      assert.deepEqual(await joiners.last(1_000), numbers(3_000, 4_000), name);
    }
  });

  it('come piece by piece where the ring has no room for them', async () => {
    for (const budget of [new RingBudget(), new RingBudget(0)]) {
      const joiners = new Joiners(5_000, budget);
      for (const item of numbers(0, 400)) joiners.append(item, 5_000);
      await joiners.begin();
      assert.deepEqual(await joiners.last(300), numbers(100, 400));
      joiners.fixture.counts.reads = 0;
      await joiners.ask({ type: 'join', last: 300 });
      assert.equal(joiners.reads, 1, 'it is known where they begin');
    }
  });

  it('are not those that have expired, as old as the store takes them for', async () => {
    const joiners = new Joiners(5_000);
    const { store, clock } = joiners.fixture;
    const start = clock.now();
    const storeNow = () => clock.now() - start;
    for (const item of numbers(0, 10)) joiners.append(item);
    await joiners.fixture.pass(100_000);
    store.now = storeNow();
    for (const item of numbers(10, 20)) joiners.append(item);
    await joiners.fixture.pass(100_000);
    store.now = storeNow();
    await joiners.begin();
    assert.deepEqual(await joiners.last(50), numbers(0, 20));
    await joiners.fixture.pass(MAX_AGE_MS - 150_000);
    assert.deepEqual(await joiners.last(50), numbers(10, 20));
    await joiners.fixture.pass(100_000);
    assert.deepEqual(await joiners.last(50), []);
    assert.ok(joiners.reads <= 2, `${joiners.reads} reads`);
  });

  it('are not told by a server that is behind', async () => {
    const joiners = new Joiners(5_000);
    const { store } = joiners.fixture;
    for (const item of numbers(0, 1_000)) joiners.append(item);
    await joiners.begin();
    store.knownUpTo = store.pushes[990]!.seq;
    const asked = joiners.last(50);
    await joiners.fixture.pass(500);
    store.knownUpTo = Number.POSITIVE_INFINITY;
    assert.deepEqual(await asked, numbers(950, 1_000));
  });

  it('are those up to what was sent, with what came while they were read', async () => {
    const joiners = new Joiners(5_000);
    const { inlet } = joiners.fixture;
    for (const item of numbers(0, 1_000)) joiners.append(item);
    await joiners.begin();
    const sent = joiners.append(1_000);
    joiners.fixture.deliver(sent);
    inlet.framesSent({ epoch: 'first', seq: sent.seq });
    joiners.fixture.deliver(joiners.append(1_001));
    assert.deepEqual(await joiners.last(50), numbers(951, 1_001));
  });
});

describe('what many missed', () => {
  it('is read a few times, and then the ring has it, if it is more than a read brings', async () => {
    const joiners = new Joiners(5_000);
    for (const item of numbers(0, 5_000)) joiners.append(item);
    await joiners.begin();
    assert.equal((await joiners.last(50)).length, 50);
    joiners.fixture.counts.reads = 0;
    const { seq } = joiners.fixture.store.pushes[4_550]!;
    for (let i = 0; i < 20; i++) {
      const from: ResumeFrom = { type: 'join', since: { epoch: 'first', seq } };
      assert.deepEqual(await joiners.all(from), numbers(4_551, 5_000));
    }
    assert.ok(joiners.reads <= 3, `${joiners.reads} reads`);
  });
});

describe('what is compressed', () => {
  it('is sent with the place of the room by then: what was sent meanwhile follows', async () => {
    const joiners = new Joiners(5_000);
    const { inlet } = joiners.fixture;
    for (const item of numbers(0, 10)) joiners.append(item, 5_000);
    await joiners.begin();
    await joiners.last(10);
    const asked = joiners.ask({ type: 'join', last: 10 }, Form.deflate);
    // The hub has begun to compress.
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    const next = joiners.append(10);
    joiners.fixture.deliver(next);
    inlet.framesSent({ epoch: 'first', seq: next.seq });
    const answer = await asked;
    assert.deepEqual([answer.place.seq, answer.isAll, answer.replayTo], [next.seq, false, undefined]);
    assert.deepEqual(
      answer.frames.map((frame) => 'deflated' in frame),
      [true],
    );
    const { seq } = answer.frames.at(-1)!;
    const rest = await joiners.ask({ type: 'next', after: { epoch: 'first', seq } }, Form.deflate);
    assert.deepEqual(itemsOf((rest.frames[0] as { text: string }).text), [10]);
    assert.ok(rest.isAll);
  });
});
