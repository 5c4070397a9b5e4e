import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Addresses } from './addresses.ts';

describe('connections by address', () => {
  it('are limited over all shards together', () => {
    const addresses = new Addresses();
    assert.ok(addresses.admit(0, 'a', 2));
    assert.ok(addresses.admit(1, 'a', 2));
    assert.ok(!addresses.admit(2, 'a', 2));
    assert.ok(addresses.admit(2, 'b', 2), 'another address');
    addresses.release(0, 'a');
    assert.ok(addresses.admit(2, 'a', 2));
    assert.ok(!addresses.admit(0, 'a', 2));
  });

  it('are given back by a shard that died, its own and no others', () => {
    const addresses = new Addresses();
    for (const shard of [0, 0, 1]) addresses.admit(shard, 'a', 3);
    addresses.forget(0);
    assert.ok(addresses.admit(0, 'a', 3));
    assert.ok(addresses.admit(0, 'a', 3));
    assert.ok(!addresses.admit(0, 'a', 3));
  });

  it('do not go below none, whatever is released', () => {
    const addresses = new Addresses();
    addresses.release(0, 'a');
    addresses.admit(0, 'a', 1);
    addresses.release(1, 'a');
    addresses.release(0, 'a');
    addresses.release(0, 'a');
    assert.ok(addresses.admit(0, 'a', 1));
    assert.ok(!addresses.admit(0, 'a', 1));
  });

  it('follow a limit that changes', () => {
    const addresses = new Addresses();
    for (let i = 0; i < 5; i++) addresses.admit(0, 'a', Number.POSITIVE_INFINITY);
    assert.ok(!addresses.admit(0, 'a', 5));
    assert.ok(addresses.admit(0, 'a', 6));
  });
});
