import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AddressLimit } from './addressLimit.ts';

describe('connections by address', () => {
  it('are limited over all shards together', () => {
    const limit = new AddressLimit();
    assert.ok(limit.admit(0, 'a', 2));
    assert.ok(limit.admit(1, 'a', 2));
    assert.ok(!limit.admit(2, 'a', 2));
    assert.ok(limit.admit(2, 'b', 2), 'another address');
    limit.release(0, 'a');
    assert.ok(limit.admit(2, 'a', 2));
    assert.ok(!limit.admit(0, 'a', 2));
  });

  it('are given back by a shard that died, its own and no others', () => {
    const limit = new AddressLimit();
    for (const shard of [0, 0, 1]) limit.admit(shard, 'a', 3);
    limit.forget(0);
    assert.ok(limit.admit(0, 'a', 3));
    assert.ok(limit.admit(0, 'a', 3));
    assert.ok(!limit.admit(0, 'a', 3));
  });

  it('do not go below none, whatever is released', () => {
    const limit = new AddressLimit();
    limit.release(0, 'a');
    limit.admit(0, 'a', 1);
    limit.release(1, 'a');
    limit.release(0, 'a');
    limit.release(0, 'a');
    assert.ok(limit.admit(0, 'a', 1));
    assert.ok(!limit.admit(0, 'a', 1));
  });

  it('follow a limit that changes', () => {
    const limit = new AddressLimit();
    for (let i = 0; i < 5; i++) limit.admit(0, 'a', Number.POSITIVE_INFINITY);
    assert.ok(!limit.admit(0, 'a', 5));
    assert.ok(limit.admit(0, 'a', 6));
  });
});
