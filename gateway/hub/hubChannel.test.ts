import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import { HubChannel } from './hubChannel.ts';

const settings = settingsWith({
  rooms: [{ match: 'vip-*', batching: { maxDelay: 0 } }],
});

describe("a channel's rules", () => {
  it('follow changed settings', () => {
    const channel = new HubChannel(roomKey('vip-1'), settings);
    assert.equal(channel.rules.maxDelay, 0);
    channel.configure(settingsWith({ rooms: [{ match: 'vip-1', batching: { maxDelay: '2s' } }] }));
    assert.equal(channel.rules.maxDelay, 2_000);
  });
});

describe('a channel', () => {
  it('may flush for urgent messages so many times a second', () => {
    const channel = new HubChannel(roomKey('r'), settings);
    const flushes = (at: number, times: number) =>
      Array.from({ length: times }, () => channel.mayFlush(3, at)).filter((may) => may).length;
    assert.equal(flushes(0, 5), 3);
    assert.equal(flushes(999, 5), 0);
    assert.equal(flushes(1_000, 5), 3);
    assert.equal(channel.mayFlush(0, 5_000), false);
  });
});
