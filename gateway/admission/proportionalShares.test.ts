import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { proportionalShares } from './proportionalShares.ts';

describe('sharing', () => {
  it('gives out exactly the count, and to each about its part', () => {
    const property = fc.property(
      fc.nat(100_000),
      fc.array(fc.nat(50_000), { minLength: 1, maxLength: 20 }),
      (count, sizes) => {
        const parts = proportionalShares(count, sizes);
        const total = sizes.reduce((sum, size) => sum + size, 0);
        assert.equal(parts.length, sizes.length);
        assert.equal(
          parts.reduce((sum, part) => sum + part, 0),
          total === 0 ? 0 : count,
        );
        for (const [i, part] of parts.entries()) {
          assert.ok(part >= 0);
          if (total > 0) assert.ok(Math.abs(part - (count * sizes[i]!) / total) <= 1);
          if (count <= total) assert.ok(part <= sizes[i]!, 'more than there are');
        }
      },
    );
    fc.assert(property);
  });
});
