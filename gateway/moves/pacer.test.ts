import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Pacer } from './pacer.ts';

it('fractions of a step add up to whole ones', () => {
  const pacer = new Pacer(0);
  const taken = [100, 200, 300, 400].map((now) => pacer.take(now, 5, 10));
  assert.deepEqual(taken, [0, 1, 0, 1]);
});

it('neither a blocked event loop nor a time without need is followed by a burst', () => {
  const pacer = new Pacer(0);
  assert.equal(pacer.take(60_000, 100, 1_000), 20);
  assert.equal(pacer.take(60_200, 100, 0), 0);
  assert.equal(pacer.take(60_201, 100, 1_000), 1);
});
