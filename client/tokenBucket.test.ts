import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBucket } from './tokenBucket.ts';

test('a burst goes at once, then the rest at the rate, whatever the clock began at', () => {
  for (const start of [0, 12.5, 1_700_000_000_000]) {
    const bucket = new TokenBucket(3, 2);
    for (let i = 0; i < 3; i++) {
      assert.equal(bucket.wait(start), 0);
      bucket.take(start);
    }
    assert.equal(bucket.wait(start), 500);
    assert.equal(bucket.wait(start + 300), 200);
    assert.equal(bucket.wait(start + 500), 0);
    bucket.take(start + 500);
    assert.equal(bucket.wait(start + 500), 500);
    assert.equal(bucket.wait(start + 60_000), 0);
  }
});

test('who waits as long as told may go, and no time has more than the burst and its share', () => {
  const pauses = fc.array(fc.double({ min: 0, max: 5_000, noNaN: true }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(pauses, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 50 }), (times, burst, perSecond) => {
      const bucket = new TokenBucket(burst, perSecond);
      const taken: number[] = [];
      let now = 1_700_000_000_000;
      for (const pause of times) {
        now += pause;
        now += bucket.wait(now);
        assert.equal(bucket.wait(now), 0);
        bucket.take(now);
        taken.push(now);
      }
      for (const [i, from] of taken.entries())
        for (const [j, to] of taken.entries())
          if (j > i) assert.ok(j - i + 1 <= burst + ((to - from) / 1_000) * perSecond + 1e-3);
    }),
  );
});

test('a clock that goes back gives nothing and takes nothing', () => {
  const bucket = new TokenBucket(1, 1);
  bucket.take(10_000);
  assert.equal(bucket.wait(5_000), 1_000);
});
