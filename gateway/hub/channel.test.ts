import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import { HubChannel } from './channel.ts';

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
