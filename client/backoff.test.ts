import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { defaultBackoff, retryDelay } from './backoff.ts';

test('the window of a retry doubles with each failure up to the cap', () => {
  const longest = [0, 1, 2, 3, 6, 7, 2_000].map((failures) => retryDelay(failures, 1006, defaultBackoff, 1));
  assert.deepEqual(longest, [500, 1_000, 2_000, 4_000, 30_000, 30_000, 30_000]);
});

test('after 1012 and 1013, which many get at once, even the first retry is spread wider', () => {
  assert.equal(retryDelay(0, 1012, defaultBackoff, 1), 2_000);
  assert.equal(retryDelay(0, 1013, defaultBackoff, 1), 8_000);
});

test('a retry comes anywhere between at once and the end of the window', () => {
  fc.assert(
    fc.property(fc.nat(100), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
      const delay = retryDelay(failures, 1006, defaultBackoff, random);
      assert.ok(delay >= 0 && delay <= defaultBackoff.cap);
      assert.equal(retryDelay(failures, 1006, defaultBackoff, 0), 0);
    }),
  );
});
