import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { perSecond, refilled, TokenBucket } from './tokenBucket.ts';

test('a bucket gives a second’s worth at once, then its rate, and says how long to wait', () => {
  let now = 0;
  const bucket = new TokenBucket(perSecond(2), now);
  const take = () => bucket.take(now);
  assert.deepEqual([take(), take(), take()], [0, 0, 0.5]);
  now += 500;
  assert.deepEqual([take(), take()], [0, 0.5]);
  now += 60_000;
  assert.deepEqual([take(), take(), take()], [0, 0, 0.5]);
});

test('a rate of 0 gives nothing, a changed rate counts at once', () => {
  let now = 0;
  const bucket = new TokenBucket(perSecond(0), now);
  const take = () => bucket.take(now);
  assert.equal(take(), Number.POSITIVE_INFINITY);
  bucket.change(perSecond(1), now);
  now += 1_000;
  assert.deepEqual([take(), take()], [0, 1]);
  bucket.change(perSecond(0), now);
  assert.equal(take(), Number.POSITIVE_INFINITY);
});

test('a rate below one a second still gives one at a time', () => {
  let now = 0;
  const bucket = new TokenBucket(perSecond(0.5), now);
  const take = () => bucket.take(now);
  assert.deepEqual([take(), take()], [0, 2]);
  now += 2_000;
  assert.equal(take(), 0);
});

test('a burst larger than a second’s worth is given at once, and fills up at the rate', () => {
  const bucket = new TokenBucket({ rate: 1, burst: 3 }, 0);
  assert.deepEqual(
    [0, 0, 0, 0, 1_000, 1_000].map((now) => bucket.take(now)),
    [0, 0, 0, 1, 0, 1],
  );
});

test('a clock that goes back takes no token away', () => {
  assert.equal(refilled(2, -10_000, 1, 5), 2);
});

test('over any time a bucket gives at most its burst and what its rate allows', () => {
  const waits = fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 50 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 20 }), waits, (rate, burst, waited) => {
      const bucket = new TokenBucket({ rate, burst }, 0);
      let now = 0;
      let given = 0;
      for (const ms of waited) {
        now += ms;
        if (bucket.take(now) === 0) given++;
      }
      assert.ok(given <= burst + (now / 1_000) * rate + 1e-6);
    }),
  );
});
