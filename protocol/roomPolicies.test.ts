import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { largestFrame, longestWindow, policyOf, rulesFor } from './roomPolicies.ts';
import { Settings } from './settings.ts';

const settings = Settings.parse({
  gateway: { batching: { minDelay: '5ms', maxDelay: '400ms', maxItems: 50, maxBytes: 2_048 } },
  rooms: [
    { match: 'vip-*', batching: { maxDelay: 0 } },
    { match: 'vip-loud', overload: { maxRate: 1 } },
    {
      match: '*-loud',
      overload: { maxRate: 20, policy: 'dropOldest' },
      batching: { maxItems: 10, minDelay: 7, adaptive: false },
    },
  ],
});

describe("a room's policy", () => {
  it('is the first whose pattern matches its name', () => {
    assert.equal(policyOf('vip-loud', settings.rooms)?.match, 'vip-*');
    assert.equal(policyOf('very-loud', settings.rooms)?.match, '*-loud');
    assert.equal(policyOf('quiet', settings.rooms), undefined);
  });
});

describe('the largest frame', () => {
  it("is the gateway's or that of any room's policy, whichever is larger", () => {
    const largest = (own: number, ...policies: number[]) =>
      largestFrame(
        Settings.parse({
          gateway: { batching: { maxBytes: own } },
          rooms: [{ match: 'x' }, ...policies.map((maxBytes, i) => ({ match: `p${i}`, batching: { maxBytes } }))],
        }),
      );
    assert.deepEqual([largest(2_048), largest(2_048, 8_192, 1_024), largest(4_096, 1_024)], [2_048, 8_192, 4_096]);
  });
});

describe('the longest window', () => {
  it("is the gateway's or that of any room's policy, whichever is longer", () => {
    const longest = (own: string, ...policies: string[]) =>
      longestWindow(
        Settings.parse({
          gateway: { batching: { maxDelay: own } },
          rooms: [{ match: 'x' }, ...policies.map((maxDelay, i) => ({ match: `p${i}`, batching: { maxDelay } }))],
        }),
      );
    assert.deepEqual([longest('1s'), longest('1s', '10s', '2s'), longest('3s', '0s')], [1_000, 10_000, 3_000]);
  });
});

describe("a channel's rules", () => {
  it("are the gateway's, for all and users and rooms without a policy", () => {
    const own = {
      minDelay: 5,
      maxDelay: 400,
      adaptive: true,
      maxItems: 50,
      maxBytes: 2_048,
      overload: undefined,
      history: undefined,
    };
    assert.deepEqual(rulesFor(undefined, settings), own);
    assert.deepEqual(rulesFor('quiet', settings), own);
  });

  it('are those of the first policy that matches, over the gateway’s', () => {
    assert.deepEqual(rulesFor('vip-loud', settings), {
      minDelay: 0,
      maxDelay: 0,
      adaptive: true,
      maxItems: 50,
      maxBytes: 2_048,
      overload: undefined,
      history: undefined,
    });
    assert.deepEqual(rulesFor('very-loud', settings), {
      minDelay: 7,
      maxDelay: 400,
      adaptive: false,
      maxItems: 10,
      maxBytes: 2_048,
      overload: { maxRate: 20, policy: 'dropOldest' },
      history: undefined,
    });
  });
});
