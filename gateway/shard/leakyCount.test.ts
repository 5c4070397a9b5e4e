import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { leaked } from './leakyCount.ts';

describe('a leaky count', () => {
  it('falls by its rate each second, and not below nothing', () => {
    assert.equal(leaked(25, 10, 0), 25);
    assert.equal(leaked(25, 10, 2), 5);
    assert.equal(leaked(25, 10, 3), 0);
  });
});
