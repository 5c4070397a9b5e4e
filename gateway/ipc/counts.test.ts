import assert from 'node:assert/strict';
import { it } from 'node:test';
import { increment, LATENCY_BUCKETS, newCounts, observeLatency } from './counts.ts';

it('puts each latency into the bucket that reaches up to it, and what is beyond into the last', () => {
  const counts = newCounts();
  for (const bound of LATENCY_BUCKETS) observeLatency(counts, bound, 2);
  assert.deepEqual(counts.latency.slice(0, -1), new Array(LATENCY_BUCKETS.length).fill(2));
  observeLatency(counts, 60, 3);
  assert.equal(counts.latency.at(-1), 3);
  const sum = 2 * LATENCY_BUCKETS.reduce((total, bound) => total + bound, 0) + 180;
  assert.ok(Math.abs(counts.latencySum - sum) < 1e-9);
});

it('takes a latency below zero, of clocks that differ, for none', () => {
  const counts = newCounts();
  observeLatency(counts, -3, 5);
  assert.equal(counts.latency[0], 5);
  assert.equal(counts.latencySum, 0);
});

it('counts by label', () => {
  const counter = {};
  for (const label of ['a', 'b', 'a']) increment(counter, label);
  assert.deepEqual(counter, { a: 2, b: 1 });
});
