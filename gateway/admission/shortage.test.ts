import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Shortage } from './shortage.ts';

describe('a shortage', () => {
  it('begins at its threshold, and ends only well below it', () => {
    const shortage = new Shortage('memory');
    const seen = [0.89, 0.9, 0.89, 0.88, 0.87, 0.89].map((used) => [shortage.read(used, 0.9), shortage.active]);
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
