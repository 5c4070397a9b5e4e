import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Positions } from './positions.ts';

test('what follows the last counter is neither repeat nor gap', () => {
  const positions = new Positions();
  assert.deepEqual(positions.advance(['a', 12, 4], 0), { repeats: 0, missed: 0 });
  assert.deepEqual(positions.advance(['a', 16, 1], 0), { repeats: 0, missed: 0 });
});

test('counters up to the last one are repeats, of a whole run or of its front', () => {
  const positions = new Positions();
  positions.advance(['a', 1, 10], 0);
  assert.deepEqual(positions.advance(['a', 3, 4], 0), { repeats: 4, missed: 0 });
  assert.deepEqual(positions.advance(['a', 8, 5], 0), { repeats: 3, missed: 0 });
  assert.deepEqual(positions.advance(['a', 13, 1], 0), { repeats: 0, missed: 0 });
});

test('skipped counters are missed items, of that publisher only', () => {
  const positions = new Positions();
  positions.advance(['a', 1, 1], 0);
  positions.advance(['b', 7, 1], 0);
  assert.deepEqual(positions.advance(['a', 5, 2], 0), { repeats: 0, missed: 3 });
  assert.deepEqual(positions.advance(['b', 8, 1], 0), { repeats: 0, missed: 0 });
});

test('64 publishers are remembered, and the longest silent is forgotten first', () => {
  const positions = new Positions();
  for (let i = 0; i < 64; i++) positions.advance([`p${i}`, 1, 10], 0);
  positions.advance(['p0', 11, 1], 0);
  positions.advance(['newcomer', 1, 1], 0);
  assert.deepEqual(positions.advance(['p0', 5, 1], 0), { repeats: 1, missed: 0 });
  assert.deepEqual(positions.advance(['p1', 5, 1], 0), { repeats: 0, missed: 0 }, 'p1 was forgotten');
});

test('counters that were a retry, and are not here, are no gap; those before them are', () => {
  const positions = new Positions();
  positions.advance(['a', 1, 2], 0);
  assert.deepEqual(positions.advance(['a', 3, 0, 4], 0), { repeats: 0, missed: 0 });
  assert.deepEqual(positions.advance(['a', 7, 1], 0), { repeats: 0, missed: 0 });
  assert.deepEqual(positions.advance(['a', 9, 0, 1], 0), { repeats: 0, missed: 1 });
  assert.deepEqual(positions.advance(['a', 10, 1], 0), { repeats: 0, missed: 0 });
});

test('publishers are forgotten so long after their first run, where a time is set', () => {
  const positions = new Positions(10, 120_000);
  assert.deepEqual(positions.advance(['push', 0, 3], 0), { repeats: 0, missed: 0 });
  assert.deepEqual(positions.advance(['push', 3, 2], 1_000), { repeats: 0, missed: 0 });
  assert.deepEqual(positions.advance(['push', 0, 4], 119_999), { repeats: 4, missed: 0 });
  assert.deepEqual(positions.advance(['push', 4, 2], 119_999), { repeats: 1, missed: 0 });
  assert.deepEqual(positions.advance(['push', 0, 4], 120_000), { repeats: 0, missed: 0 });
  for (let i = 0; i < 10; i++) positions.advance([`p${i}`, 0, 1], 120_000);
  assert.deepEqual(positions.advance(['push', 0, 4], 120_000), { repeats: 0, missed: 0 }, 'it was the oldest');
});
