import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { retryAfterSeconds } from './refusal.ts';

describe('Retry-After', () => {
  it('is spread over 1 to 5 seconds', () => {
    assert.deepEqual(
      [0, 0.25, 0.5, 0.75, 0.999].map((random) => retryAfterSeconds(() => random)),
      [1, 2, 3, 4, 5],
    );
  });
});
