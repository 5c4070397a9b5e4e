import assert from 'node:assert/strict';
import { test } from 'node:test';
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

test('over the limit the oldest item goes, and push says so', async () => {
  const queue = new Queue<number>(2, () => {});
  assert.deepEqual(
    [1, 2, 3, 4].map((item) => queue.push(item)),
    [false, false, true, true],
  );
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
  for await (const item of queue) {
    assert.equal(item, 1);
    break;
  }
  assert.ok(returned);
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});
