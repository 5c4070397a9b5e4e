import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AcceptRate } from './acceptRate.ts';

describe('the accept rate', () => {
  it('lets through so many a second, and at once no more than a second’s worth', () => {
    const rate = new AcceptRate();
    const taken = (now: number, tries: number) =>
      Array.from({ length: tries }, () => rate.take(10, now)).filter((through) => through).length;
    assert.equal(taken(0, 50), 10);
    assert.equal(taken(100, 50), 1);
    assert.equal(taken(1_100, 50), 10);
    assert.equal(taken(60_000, 50), 10);
  });

  it('does not stand still at a share below one a second', () => {
    const rate = new AcceptRate();
    assert.equal(rate.take(0.5, 0), true);
    assert.equal(rate.take(0.5, 1_900), false);
    assert.equal(rate.take(0.5, 2_000), true);
  });

  it('is none at 0', () => {
    const rate = new AcceptRate();
    for (let i = 0; i < 1_000; i++) assert.ok(rate.take(0, 0));
  });
});
