import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from './fixture.ts';
import { shutdownTime } from './validSettings.ts';

describe('the time to leave', () => {
  it('is that to settle and that to drain', () => {
    assert.equal(shutdownTime(clusterOf({ gateway: { drain: { settle: '1s', timeout: '1m' } } }), 'gateway'), 61_000);
  });
});
