import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LoopPressure } from './loopPressure.ts';

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
