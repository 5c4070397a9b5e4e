import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenBucket } from './tokenBucket.ts';

test('a bucket gives a second’s worth at once, then its rate, and says how long to wait', () => {
  let now = 0;
  const bucket = new TokenBucket(2, () => now);
  assert.deepEqual([bucket.take(), bucket.take(), bucket.take()], [0, 0, 0.5]);
  now += 500;
  assert.deepEqual([bucket.take(), bucket.take()], [0, 0.5]);
  now += 60_000;
  assert.deepEqual([bucket.take(), bucket.take(), bucket.take()], [0, 0, 0.5]);
});

test('a rate of 0 gives nothing, a changed rate counts at once', () => {
  let now = 0;
  const bucket = new TokenBucket(0, () => now);
  assert.equal(bucket.take(), Number.POSITIVE_INFINITY);
  bucket.rate = 1;
  now += 1_000;
  assert.deepEqual([bucket.take(), bucket.take()], [0, 1]);
  bucket.rate = 0;
  assert.equal(bucket.take(), Number.POSITIVE_INFINITY);
});

test('a rate below one a second still gives one at a time', () => {
  let now = 0;
  const bucket = new TokenBucket(0.5, () => now);
  assert.deepEqual([bucket.take(), bucket.take()], [0, 2]);
  now += 2_000;
  assert.equal(bucket.take(), 0);
});
