import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { adaptiveWindow, CHANNEL_CORES, frameCost } from './adaptiveWindow.ts';

const machine = fc.record({ shards: fc.integer({ min: 1, max: 64 }), cores: fc.integer({ min: 1, max: 64 }) });
const members = fc.integer({ min: 1, max: 1_000_000 });
const share = fc.double({ min: 1e-7, max: 1, noNaN: true });
const bounds = fc
  .tuple(fc.integer({ min: 0, max: 10_000 }), fc.integer({ min: 0, max: 10_000 }))
  .map(([a, b]) => ({ minDelay: Math.min(a, b), maxDelay: Math.max(a, b) }));
const SHIPPED = { minDelay: 0, maxDelay: 1_000 };
const SMALL = { shards: 1, cores: 2 };

describe('an adaptive window', () => {
  it('is from minDelay to maxDelay', () => {
    fc.assert(
      fc.property(bounds, members, machine, share, (bounds, members, machine, share) => {
        const window = adaptiveWindow(bounds, frameCost(members, 1, machine), share);
        assert.ok(window >= bounds.minDelay && window <= bounds.maxDelay, `${window}`);
      }),
    );
  });

  it('is no shorter with more members, more shards that have some, or a smaller share', () => {
    fc.assert(
      fc.property(members, members, machine, share, share, (some, more, machine, share, smaller) => {
        const window = (members: number, shards: number, cores: number) =>
          adaptiveWindow(SHIPPED, frameCost(members, shards, machine), cores);
        const first = window(some, 1, Math.max(share, smaller));
        assert.ok(window(some + more, 1, Math.max(share, smaller)) >= first);
        assert.ok(window(some, machine.shards, Math.max(share, smaller)) >= first);
        assert.ok(window(some, 1, Math.min(share, smaller)) >= first);
      }),
    );
  });

  it('keeps the frames of a channel within its share of all cores, and of the busiest one, if maxDelay allows it', () => {
    fc.assert(
      fc.property(members, machine, share, (members, machine, share) => {
        const cost = frameCost(members, 1, machine);
        const window = adaptiveWindow({ minDelay: 0, maxDelay: Number.POSITIVE_INFINITY }, cost, share);
        const framesASecond = 1_000 / window;
        assert.ok((framesASecond * cost.total) / 1e6 <= CHANNEL_CORES * 1.000_001);
        assert.ok((framesASecond * cost.busiest) / 1e6 <= share * 1.000_001);
      }),
    );
  });

  it('is instant for a chat of ten, and as long as before for a crowd', () => {
    const window = (members: number) => adaptiveWindow(SHIPPED, frameCost(members, 1, SMALL), 1);
    assert.ok(window(10) < 5, `${window(10)} ms`);
    assert.ok(window(1_000) > 50 && window(1_000) < 250, `${window(1_000)} ms`);
    assert.equal(window(10_000), 1_000);
    assert.equal(window(100_000), 1_000);
  });
});
