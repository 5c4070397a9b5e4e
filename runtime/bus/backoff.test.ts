import assert from 'node:assert/strict';
import { it } from 'node:test';
import { fullJitter } from './backoff.ts';

const range = { first: 100, longest: 2_000 };

it('waits up to twice as long after each failure, and never longer than the longest', () => {
  const limits = [0, 1, 2, 3, 4, 5, 6, 1_000].map((attempt) => fullJitter(attempt, range, () => 1));
  assert.deepEqual(limits, [100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]);
});

it('spreads the waits from nothing to the limit', () => {
  assert.equal(
    fullJitter(3, range, () => 0),
    0,
  );
  assert.equal(
    fullJitter(3, range, () => 0.25),
    200,
  );
});
