import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import fc from 'fast-check';
import { requeueDelay, WorkQueue } from './workQueue.ts';

function fixture() {
  const clock = new FakeClock();
  const queue = new WorkQueue(clock);
  return { clock, queue };
}

describe('a work queue', () => {
  it('has a key once, however often it was added, and in the order in which keys came', async () => {
    const { queue } = fixture();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    assert.equal(queue.depth, 3);
    assert.deepEqual([await queue.take(), await queue.take(), await queue.take()], ['a', 'b', 'c']);
    assert.equal(queue.depth, 0);
  });

  it('never gives a key to two workers at once, and gives it again when it was added meanwhile', async () => {
    const { queue } = fixture();
    queue.add('a');
    assert.equal(await queue.take(), 'a');
    queue.add('a');
    queue.add('a');
    let second: string | undefined;
    const taken = queue.take().then((key) => {
      second = key;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(second, undefined);
    queue.done('a');
    await taken;
    assert.equal(second, 'a');
    queue.done('a');
    assert.equal(queue.depth, 0);
  });

  it('gives a key that comes later at the earliest of the times that were asked for', async () => {
    const { queue, clock } = fixture();
    queue.addAfter('a', 500);
    queue.addAfter('a', 100);
    queue.addAfter('a', 900);
    assert.equal(queue.delayed, 1);
    clock.advance(99);
    assert.equal(queue.depth, 0);
    clock.advance(1);
    assert.equal(queue.depth, 1);
    clock.advance(1_000);
    assert.equal(queue.depth, 1);
  });

  it('tries a key again after 5 ms, then twice as long each time, and from 5 ms on when it has done well', () => {
    const { queue } = fixture();
    assert.deepEqual([queue.retry('a'), queue.retry('a'), queue.retry('a'), queue.retry('b')], [5, 10, 20, 5]);
    queue.forget('a');
    assert.equal(queue.retry('a'), 5);
  });

  it('tells how many fail until each does well, however long it waits', () => {
    const { queue, clock } = fixture();
    for (const key of ['a', 'b', 'b']) queue.retry(key);
    assert.equal(queue.failing, 2);
    clock.advance(500_000);
    assert.equal(queue.failing, 2);
    for (const key of ['a', 'c']) queue.forget(key);
    assert.equal(queue.failing, 1);
  });

  it('waits as long as the server asks for', () => {
    const { queue } = fixture();
    assert.equal(queue.retry('a', 3_000), 3_000);
  });

  it('tells those who wait when it is closed, and takes nothing any more', async () => {
    const { queue, clock } = fixture();
    const waiting = queue.take();
    queue.addAfter('b', 10);
    queue.close();
    assert.equal(await waiting, undefined);
    queue.add('a');
    clock.advance(20);
    assert.equal(queue.depth, 0);
    assert.equal(await queue.take(), undefined);
  });

  it('waits never less than the time before, from 5 ms to 15 s', () => {
    fc.assert(
      fc.property(fc.nat(10_000), (failures) => {
        const wait = requeueDelay(failures);
        assert.ok(wait >= 5 && wait <= 15_000);
        assert.ok(requeueDelay(failures + 1) >= wait);
        assert.ok(requeueDelay(failures + 1) <= 2 * wait);
      }),
    );
  });

  it('loses no key and gives none twice at once, whatever happens in whatever order', async () => {
    const key = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ do: fc.constant('add' as const), key }),
      fc.record({ do: fc.constant('later' as const), key, ms: fc.nat(50) }),
      fc.record({ do: fc.constant('fail' as const), key }),
      fc.record({ do: fc.constant('take' as const) }),
      fc.record({ do: fc.constant('done' as const) }),
      fc.record({ do: fc.constant('pass' as const), ms: fc.nat(50) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { queue, clock } = fixture();
        const working: string[] = [];
        /** Keys that have to be worked on from their beginning, since they were added. */
        const owed = new Set<string>();
        for (const each of steps) {
          if (each.do === 'add') {
            queue.add(each.key);
            owed.add(each.key);
          } else if (each.do === 'later') {
            queue.addAfter(each.key, each.ms);
            owed.add(each.key);
          } else if (each.do === 'fail') {
            queue.retry(each.key);
            owed.add(each.key);
          } else if (each.do === 'pass') clock.advance(each.ms);
          else if (each.do === 'done') {
            const key = working.shift();
            if (key !== undefined) queue.done(key);
            // Keys that come again once they are done count as well: `take` would wait for those.
          } else if (queue.depth > working.length) {
            const key = await queue.take();
            assert.ok(key !== undefined && !working.includes(key));
            working.push(key);
            owed.delete(key);
          }
        }
        for (const key of working) queue.done(key);
        clock.advance(2_000_000);
        while (queue.depth > 0) {
          const key = await queue.take();
          owed.delete(key ?? '');
          queue.done(key ?? '');
        }
        assert.deepEqual([...owed], []);
      }),
    );
  });
});
