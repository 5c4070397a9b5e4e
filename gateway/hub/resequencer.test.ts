import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PushHeader } from '@pushcluster/protocol/push.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import fc from 'fast-check';
import { PublisherCounters } from './publisherCounters.ts';
import { PublisherHeartbeats } from './publisherHeartbeats.ts';
import { LATE_MS, Resequencer, WaitingBytes } from './resequencer.ts';
import { SlicedWork } from './slicedWork.ts';

type Message = { push: PushHeader; count: number };

function message(publisher: string, counter: number, count: number): Message {
  const beats = { beat: 0, mark: counter, first: 0 };
  return { push: { publisher, counter, at: 0, begun: 0, ...beats, urgent: false, id: '' }, count };
}

function fixture() {
  const clock = new FakeClock();
  const counters = new PublisherCounters(new PublisherHeartbeats(() => clock.now()));
  const waiting = new WaitingBytes();
  const taken: Message[] = [];
  const failures: unknown[] = [];
  let [lost, late] = [0, 0];
  const resequencer = new Resequencer<PushHeader>(
    counters,
    {
      clock,
      waiting,
      work: new SlicedWork({ clock, failed: (error) => failures.push(error) }),
      metrics: { late: { inc: (items = 1) => (late += items) } as never },
      failed: (error) => failures.push(error),
    },
    (push, count) => {
      const { gap, repeats } = counters.accept(push, count);
      lost += gap;
      if (repeats < count || count === 0) taken.push({ push, count: count - repeats });
      if (push.id === 'bad') throw new Error('bad');
      if (push.id === 'slow') clock.freeze(3);
    },
  );
  return {
    ...{ clock, resequencer, waiting, taken, failures },
    receive: ({ push, count }: Message, size = 100) => resequencer.receive(push, count, size),
    /** The numbers of the items of a publisher that were taken, in order. */
    items: (publisher: string) =>
      taken
        .filter(({ push }) => push.publisher === publisher)
        .flatMap(({ push, count }) => Array.from({ length: count }, (_, i) => push.counter + i)),
    get lost() {
      return lost;
    },
    get late() {
      return late;
    },
  };
}

/** Messages of a publisher, of so many items each, after one that every gateway knows. */
function messagesOf(publisher: string, counts: readonly number[]): Message[] {
  let next = 2;
  return counts.map((count) => {
    const one = message(publisher, next, count);
    next += count;
    return one;
  });
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** One publisher that goes on at another server in the midst, some of whose messages are lost. */
const switching = fc.record({
  counts: fc.array(fc.nat(3), { minLength: 1, maxLength: 30 }),
  switchAt: fc.nat(30),
  lost: fc.array(fc.nat(30), { maxLength: 4 }),
});
type Switching = { counts: number[]; switchAt: number; lost: number[] };

/** The messages of all publishers, as they come through the former server and through the next, merged as `turns` say. */
function arrivals(
  publishers: Switching[],
  turns: Iterator<boolean>,
  isLost: (publisher: Switching, i: number) => boolean,
) {
  const paths: Message[][] = [[], []];
  for (const [p, publisher] of publishers.entries())
    for (const [i, one] of messagesOf(`p${p}`, publisher.counts).entries())
      if (!isLost(publisher, i)) paths[i < publisher.switchAt ? 0 : 1]!.push(one);
  const all: Message[] = [];
  for (const [former = [], next = []] = paths; former.length + next.length > 0; ) {
    const isFormers = next.length === 0 || (former.length > 0 && turns.next().value);
    all.push((isFormers ? former : next).shift()!);
  }
  return all;
}

describe('messages that come through two servers', () => {
  it('are taken once and in the order of their publisher, however the two are interleaved', () => {
    fc.assert(
      fc.property(
        fc.array(switching, { minLength: 1, maxLength: 3 }),
        fc.infiniteStream(fc.boolean()),
        fc.array(fc.nat(80), { maxLength: 3 }),
        (publishers, turns, repeated) => {
          const run = fixture();
          for (const p of publishers.keys()) run.receive(message(`p${p}`, 1, 1));
          const all = arrivals(publishers, turns, () => false);
          for (const [i, one] of all.entries()) {
            run.clock.advance(1);
            run.receive(one);
            if (repeated.includes(i)) run.receive(one);
          }
          for (const [p, { counts }] of publishers.entries())
            assert.deepEqual(run.items(`p${p}`), numbers(1, 1 + counts.reduce((sum, count) => sum + count, 0)));
          assert.equal(run.lost, 0);
          assert.equal(run.waiting.bytes, 0);
          assert.equal(run.clock.timers, 0);
        },
      ),
    );
  });

  it('are taken in order where some were lost, all of which are counted', () => {
    fc.assert(
      fc.property(
        fc.array(switching, { minLength: 1, maxLength: 3 }),
        fc.infiniteStream(fc.boolean()),
        (publishers, turns) => {
          const run = fixture();
          for (const p of publishers.keys()) run.receive(message(`p${p}`, 1, 1));
          for (const one of arrivals(publishers, turns, ({ lost }, i) => lost.includes(i))) {
            run.clock.advance(1);
            run.receive(one);
          }
          run.clock.advance(LATE_MS);
          let missing = 0;
          for (const [p, { counts, lost }] of publishers.entries()) {
            const came = messagesOf(`p${p}`, counts).filter((_, i) => !lost.includes(i));
            const expected = [1, ...came.flatMap(({ push, count }) => numbers(push.counter, push.counter + count - 1))];
            assert.deepEqual(run.items(`p${p}`), expected);
            const last = came.at(-1);
            missing += (last ? last.push.counter + last.count - 1 : 1) - expected.length;
          }
          assert.equal(run.lost, missing);
          assert.equal(run.waiting.bytes, 0);
          assert.equal(run.clock.timers, 0);
        },
      ),
    );
  });
});

describe('a message that comes before others of its publisher', () => {
  it('waits for them, while other publishers go on', () => {
    const run = fixture();
    for (const one of [message('p', 1, 1), message('q', 1, 1), message('p', 3, 2), message('q', 2, 1)])
      run.receive(one);
    assert.deepEqual([run.items('p'), run.items('q')], [[1], [1, 2]]);
    run.receive(message('p', 2, 1));
    assert.deepEqual(run.items('p'), [1, 2, 3, 4]);
    assert.deepEqual([run.lost, run.late], [0, 1]);
  });

  it('waits for a second: what has not come by then is lost, and what comes later is a repeat', () => {
    const run = fixture();
    run.receive(message('p', 1, 1));
    run.receive(message('p', 4, 1));
    run.clock.advance(LATE_MS - 1);
    run.receive(message('p', 6, 1));
    assert.deepEqual(run.items('p'), [1]);
    run.clock.advance(1);
    assert.deepEqual(run.items('p'), [1, 4, 6]);
    run.receive(message('p', 2, 2));
    assert.deepEqual(run.items('p'), [1, 4, 6]);
    assert.deepEqual([run.lost, run.late], [3, 0]);
  });

  it('waits where it says how far its publisher has counted, too', () => {
    const run = fixture();
    run.receive(message('p', 1, 1));
    run.receive(message('p', 3, 0));
    assert.equal(run.lost, 0);
    run.receive(message('p', 2, 1));
    run.clock.advance(LATE_MS);
    assert.equal(run.lost, 0);
  });

  it('does not wait where 16 MiB wait already', () => {
    const run = fixture();
    for (const publisher of ['p', 'q']) run.receive(message(publisher, 1, 1));
    run.receive(message('p', 3, 1), 16 * 1_048_576);
    assert.deepEqual(run.items('p'), [1]);
    run.receive(message('q', 3, 1), 1);
    assert.deepEqual(run.items('q'), [1, 3]);
    assert.deepEqual(run.items('p'), [1]);
    run.receive(message('p', 4, 1), 1);
    assert.deepEqual(run.items('p'), [1, 3, 4]);
    assert.equal(run.waiting.bytes, 0);
  });

  it('goes on at once where the subscription ends', () => {
    const run = fixture();
    run.receive(message('p', 1, 1));
    run.receive(message('p', 3, 1));
    run.resequencer.close();
    assert.deepEqual(run.items('p'), [1, 3]);
    assert.deepEqual([run.clock.timers, run.waiting.bytes], [0, 0]);
  });

  it('is passed on in slices with those that waited, between which the loop serves others, and in order', () => {
    const run = fixture();
    const slow = ({ push, count }: Message) => ({ push: { ...push, id: 'slow' }, count });
    run.receive(message('p', 1, 1));
    for (let counter = 3; counter <= 9; counter++) run.receive(slow(message('p', counter, 1)));
    run.receive(message('p', 2, 1));
    assert.deepEqual(run.items('p'), numbers(1, 5));
    run.receive(slow(message('p', 10, 1)));
    assert.deepEqual(run.items('p'), numbers(1, 5), 'it is behind the others');
    run.clock.turn();
    assert.deepEqual(run.items('p'), numbers(1, 8));
    while (run.clock.turn());
    assert.deepEqual(run.items('p'), numbers(1, 10));
    assert.deepEqual([run.lost, run.clock.timers, run.waiting.bytes], [0, 0, 0]);
  });

  it('does not wait behind those that are passed on where 16 MiB wait already', () => {
    const run = fixture();
    const size = 1_048_576;
    run.receive(message('p', 1, 1));
    const slow = (counter: number) => {
      const { push, count } = message('p', counter, 1);
      run.receive({ push: { ...push, id: 'slow' }, count }, size);
      assert.ok(run.waiting.bytes <= 16 * size, `${run.waiting.bytes} bytes wait`);
    };
    for (let counter = 3; counter <= 12; counter++) slow(counter);
    run.receive(message('p', 2, 1));
    for (let counter = 13; counter <= 40; counter++) slow(counter);
    assert.deepEqual(run.items('p'), numbers(1, 24));
    while (run.clock.turn());
    assert.deepEqual(run.items('p'), numbers(1, 40));
    assert.deepEqual([run.lost, run.clock.timers, run.waiting.bytes], [0, 0, 0]);
  });

  it('costs those after it nothing if it fails', () => {
    const run = fixture();
    run.receive(message('p', 1, 1));
    const bad = message('p', 3, 1);
    run.receive({ ...bad, push: { ...bad.push, id: 'bad' } });
    run.receive(message('p', 4, 1));
    run.receive(message('p', 2, 1));
    assert.deepEqual(run.items('p'), [1, 2, 3, 4]);
    assert.equal(run.failures.length, 1);
  });
});
