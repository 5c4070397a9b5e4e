import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Gate, LoopPressure, MemoryCeiling } from './pressure.ts';

const NONE = Number.POSITIVE_INFINITY;

describe('a gate', () => {
  it('closes at its threshold, and opens again only well below it', () => {
    const gate = new Gate('memory');
    const seen = [0.89, 0.9, 0.89, 0.88, 0.87, 0.89].map((used) => [gate.read(used, 0.9), gate.closed]);
    assert.deepEqual(seen, [
      [false, false],
      [true, true],
      [false, true],
      [false, true],
      [true, false],
      [false, false],
    ]);
  });
});

describe('pressure on a loop', () => {
  const pressures = (lags: number[], tooLate = 500) => {
    const loop = new LoopPressure();
    return lags.map((lag) => loop.read(lag, tooLate));
  };

  it('counts one late second half, so that a garbage collection refuses nobody', () => {
    assert.deepEqual(pressures([900, 0, 0]), [0.9, 0.45, 0.225]);
  });

  it('is at its end where a loop stays late', () => {
    assert.deepEqual(pressures([700, 700, 700]), [0.7, 1, 1]);
  });

  it('stays low under a full load that is served in time', () => {
    assert.ok(pressures(new Array<number>(60).fill(40)).every((pressure) => pressure < 0.1));
  });

  it('is none where no delay is too late', () => {
    assert.deepEqual(pressures([9_000, 9_000], 0), [0, 0]);
  });
});

describe('the ceiling that memory sets', () => {
  it('is none while there is memory', () => {
    const ceiling = new MemoryCeiling();
    assert.equal(ceiling.read(0.89, 0.9, 5_000), NONE);
    assert.ok(!ceiling.closed);
  });

  it('is as many as were there when memory got short: one leaves, one may come', () => {
    const ceiling = new MemoryCeiling();
    assert.equal(ceiling.read(0.91, 0.9, 5_000), 5_000);
    assert.equal(ceiling.read(0.92, 0.9, 4_000), 5_000);
    assert.ok(ceiling.closed);
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
    assert.ok(!ceiling.closed);
  });

  it('is lifted where the protection is turned off', () => {
    const ceiling = new MemoryCeiling();
    ceiling.read(0.99, 0.9, 10);
    assert.equal(ceiling.read(0.99, 1, 10), NONE);
    assert.ok(!ceiling.closed);
  });
});
