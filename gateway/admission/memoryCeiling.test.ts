import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryCeiling } from './memoryCeiling.ts';

const NONE = Number.POSITIVE_INFINITY;

describe('the ceiling that memory sets', () => {
  it('is none while there is memory', () => {
    const ceiling = new MemoryCeiling();
    assert.equal(ceiling.read(0.89, 0.9, 5_000), NONE);
    assert.ok(!ceiling.active);
  });

  it('is as many as were there when memory got short: one leaves, one may come', () => {
    const ceiling = new MemoryCeiling();
    assert.equal(ceiling.read(0.91, 0.9, 5_000), 5_000);
    assert.equal(ceiling.read(0.92, 0.9, 4_000), 5_000);
    assert.ok(ceiling.active);
  });

  it('is half as many where memory goes on to rise', () => {
    const ceiling = new MemoryCeiling();
    ceiling.read(0.91, 0.9, 5_000);
    assert.equal(ceiling.read(0.96, 0.9, 4_990), 2_500);
    assert.equal(ceiling.read(0.93, 0.9, 3_000), 5_000);
  });

  it('is none again once memory is well below its threshold', () => {
    const ceiling = new MemoryCeiling();
    ceiling.read(0.91, 0.9, 5_000);
    assert.equal(ceiling.read(0.88, 0.9, 4_000), 5_000);
    assert.equal(ceiling.read(0.87, 0.9, 4_000), NONE);
    assert.ok(!ceiling.active);
  });

  it('is lifted where the protection is turned off', () => {
    const ceiling = new MemoryCeiling();
    ceiling.read(0.99, 0.9, 10);
    assert.equal(ceiling.read(0.99, 1, 10), NONE);
    assert.ok(!ceiling.active);
  });
});
