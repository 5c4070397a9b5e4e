import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/frames.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import { HubChannel, longestWindow, rulesFor } from './channel.ts';

const settings = settingsWith({
  gateway: { batching: { maxDelay: '400ms', maxItems: 50, maxBytes: 2_048 } },
  rooms: [
    { match: 'vip-*', batching: { maxDelay: 0 } },
    { match: 'vip-loud', overload: { maxRate: 1 } },
    { match: '*-loud', overload: { maxRate: 20, policy: 'dropOldest' }, batching: { maxItems: 10 } },
  ],
});

describe('the longest window', () => {
  it("is the gateway's or that of any room's policy, whichever is longer", () => {
    const longest = (own: string, ...policies: string[]) =>
      longestWindow(
        settingsWith({
          gateway: { batching: { maxDelay: own } },
          rooms: [{ match: 'x' }, ...policies.map((maxDelay, i) => ({ match: `p${i}`, batching: { maxDelay } }))],
        }),
      );
    assert.deepEqual([longest('1s'), longest('1s', '10s', '2s'), longest('3s', '0s')], [1_000, 10_000, 3_000]);
  });
});

describe("a channel's rules", () => {
  it("are the gateway's, for all and users and rooms without a policy", () => {
    const own = { maxDelay: 400, maxItems: 50, maxBytes: 2_048, overload: undefined };
    assert.deepEqual(rulesFor(undefined, settings), own);
    assert.deepEqual(rulesFor('quiet', settings), own);
  });

  it('are those of the first policy that matches, over the gateway’s', () => {
    assert.deepEqual(rulesFor('vip-loud', settings), {
      maxDelay: 0,
      maxItems: 50,
      maxBytes: 2_048,
      overload: undefined,
    });
    assert.deepEqual(rulesFor('very-loud', settings), {
      maxDelay: 400,
      maxItems: 10,
      maxBytes: 2_048,
      overload: { maxRate: 20, policy: 'dropOldest' },
    });
  });

  it('follow changed settings', () => {
    const channel = new HubChannel(roomKey('vip-1'), settings);
    assert.equal(channel.rules.maxDelay, 0);
    channel.configure(settingsWith({ rooms: [{ match: 'vip-1', batching: { maxDelay: '2s' } }] }));
    assert.equal(channel.rules.maxDelay, 2_000);
  });
});

describe('a channel', () => {
  it('may be hurried so many times a second', () => {
    const channel = new HubChannel(roomKey('r'), settings);
    const hurries = (at: number, times: number) =>
      Array.from({ length: times }, () => channel.mayHurry(3, at)).filter((may) => may).length;
    assert.equal(hurries(0, 5), 3);
    assert.equal(hurries(999, 5), 0);
    assert.equal(hurries(1_000, 5), 3);
    assert.equal(channel.mayHurry(0, 5_000), false);
  });

  it('needs the forms that any shard needs', () => {
    const channel = new HubChannel(ALL, settings);
    assert.equal(channel.mask, 0);
    channel.masks[2] = Form.v1;
    channel.masks[0] = Form.plain | Form.v1;
    assert.equal(channel.mask, Form.plain | Form.v1);
  });
});
