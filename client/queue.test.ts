import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_MISSED } from './limits.ts';
import { Queue } from './queue.ts';

test('items come in order, those that wait and those that are waited for', async () => {
  const queue = new Queue<number>(10, () => {});
  queue.push(1);
  queue.push(2);
  assert.deepEqual(await queue.next(), { value: 1, done: false });
  assert.deepEqual(await queue.next(), { value: 2, done: false });
  const waiting = [queue.next(), queue.next()];
  queue.push(3);
  queue.push(4);
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ value }) => value),
    [3, 4],
  );
});

test('over the limit push says so, and shorten drops the oldest items', async () => {
  const queue = new Queue<number>(2, () => {});
  assert.deepEqual(
    [1, 2, 3, 4].map((item) => queue.push(item)),
    [false, false, true, true],
  );
  assert.equal(queue.shorten(), 2);
  assert.equal(queue.shorten(), 0);
  assert.equal((await queue.next()).value, 3);
  assert.equal((await queue.next()).value, 4);
});

test('at the end what is queued still comes, then done', async () => {
  const queue = new Queue<number>(10, () => {});
  queue.push(1);
  queue.end();
  assert.deepEqual(await queue.next(), { value: 1, done: false });
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});

test('an error reaches who waits, and who comes later', async () => {
  const queue = new Queue<number>(10, () => {});
  const waiting = queue.next();
  queue.end(new Error('gone'));
  await assert.rejects(waiting, /gone/);
  await assert.rejects(queue.next(), /gone/);
});

test('breaking out of for await gives the queue back', async () => {
  let returned = false;
  const queue = new Queue<number>(10, () => {
    returned = true;
  });
  queue.push(1);
  queue.push(2);
  for await (const item of { [Symbol.asyncIterator]: () => queue }) {
    assert.equal(item, 1);
    break;
  }
  assert.ok(returned);
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});

test('a queue that is discarded gives nothing more, whether somebody waits or not', async () => {
  const queue = new Queue<number>(10, () => {});
  const waiting = queue.next();
  queue.discard();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  const full = new Queue<number>(10, () => {});
  full.push(1);
  full.end(new Error('gone'));
  full.discard();
  assert.deepEqual(await full.next(), { value: undefined, done: true });
});

test('missed items do not count, until they are read', async () => {
  const queue = new Queue<number>(2, () => {});
  for (const item of [1, 2, 3, 4]) assert.equal(queue.push(item, {}), false);
  assert.deepEqual(
    [5, 6, 7].map((item) => queue.push(item)),
    [false, false, true],
  );
  assert.equal(queue.shorten(), 1);
  for (const item of [2, 3, 4, 5, 6]) assert.equal((await queue.next()).value, item);
  assert.deepEqual(
    [8, 9, 10].map((item) => queue.push(item)),
    [false, false, true],
  );
  for (let i = 0; i <= MAX_MISSED; i++) queue.push(i, {});
  assert.equal(queue.shorten(), 3);
});

test('a queue holds the newest items up to its limit, whatever the order of pushes and reads', async () => {
  const step = fc.oneof(fc.record({ push: fc.nat(30) }), fc.record({ read: fc.nat(30) }));
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 20 }), fc.array(step, { maxLength: 40 }), async (limit, steps) => {
      const queue = new Queue<number | undefined>(limit, () => {});
      const model: (number | undefined)[] = [];
      let n = 0;
      for (const step of steps) {
        for (let i = 0; 'push' in step && i < step.push; i++) {
          const item = ++n % 5 === 0 ? undefined : n;
          model.push(item);
          assert.equal(queue.push(item), model.length > limit);
        }
        const over = Math.max(0, model.length - limit);
        assert.equal(queue.shorten(), over);
        model.splice(0, over);
        for (let i = 0; 'read' in step && i < step.read && model.length > 0; i++)
          assert.deepEqual(await queue.next(), { value: model.shift(), done: false });
      }
      queue.end();
      for (const item of model) assert.deepEqual(await queue.next(), { value: item, done: false });
      assert.equal((await queue.next()).done, true);
    }),
  );
});
