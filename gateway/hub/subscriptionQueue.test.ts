import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import { HubChannel } from './hubChannel.ts';
import { SubscriptionQueue } from './subscriptionQueue.ts';

const settings = settingsWith();
const channels = (count: number) => Array.from({ length: count }, (_, i) => new HubChannel(roomKey(`${i}`), settings));

describe('the queue of rooms that subscribe', () => {
  it('subscribes for 250 at once, and 250 every 50 ms, in their order', () => {
    const clock = new FakeClock();
    const opened: HubChannel[] = [];
    const queue = new SubscriptionQueue(clock, (channel) => opened.push(channel));
    const all = channels(1_000);
    for (const channel of all) queue.add(channel);
    assert.equal(opened.length, 250);
    assert.equal(queue.waiting, 750);
    for (let tick = 2; tick <= 4; tick++) {
      clock.advance(50);
      assert.equal(opened.length, 250 * tick);
    }
    assert.deepEqual(opened, all);
    clock.advance(1_000);
    assert.equal(clock.timers, 0);
    const [late] = channels(1);
    queue.add(late!);
    assert.equal(opened.at(-1), late);
  });

  it('leaves out those that nobody waits for any more, which cost nothing', () => {
    const clock = new FakeClock();
    const opened: HubChannel[] = [];
    const queue = new SubscriptionQueue(clock, (channel) => opened.push(channel));
    const all = channels(10_000);
    for (const channel of all) queue.add(channel);
    for (const channel of all.slice(250, 9_999)) assert.equal(queue.remove(channel), true);
    assert.equal(queue.remove(all[0]!), false);
    clock.advance(50);
    assert.deepEqual(opened, [...all.slice(0, 250), all[9_999]]);
  });

  it('goes on after a room that could not be opened', () => {
    const clock = new FakeClock();
    let opened = 0;
    const all = channels(300);
    const queue = new SubscriptionQueue(clock, (channel) => {
      if (channel === all[260]) throw new Error('no');
      opened++;
    });
    for (const channel of all) queue.add(channel);
    assert.throws(() => clock.advance(50));
    clock.advance(50);
    assert.equal(opened, 299);
    assert.equal(queue.waiting, 0);
  });
});
