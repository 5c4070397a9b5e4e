import assert from 'node:assert/strict';
import { it } from 'node:test';
import { fullJitter } from './fullJitter.ts';

it('waits up to twice as long after each failure, and never longer than the longest', () => {
  const limits = [0, 1, 2, 3, 4, 5, 6, 1_000].map((attempt) => fullJitter(attempt, 100, 2_000, 1));
  assert.deepEqual(limits, [100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]);
});

it('spreads the waits from nothing to the limit', () => {
  assert.equal(fullJitter(3, 100, 2_000, 0), 0);
  assert.equal(fullJitter(3, 100, 2_000, 0.25), 200);
});

it('takes a random number of its own if it is given none', () => {
  const waits = Array.from({ length: 100 }, () => fullJitter(0, 100, 2_000));
  assert.ok(waits.every((ms) => ms >= 0 && ms < 100));
  assert.ok(new Set(waits).size > 1);
});
