import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import {
  clock,
  counted,
  forms,
  held,
  hub,
  publish,
  ROOM,
  settled,
  shards,
  start,
  subjects,
} from '../simulation/startedHub.ts';

beforeEach(() => start());

describe('a room', () => {
  it('is opened for a shard only when the subscription is ready', async () => {
    held.held = true;
    const first = forms(shards[0]!, ROOM, Form.plain);
    await settled();
    assert.deepEqual(held.subscribed.slice(-1), [subjects.room('r')]);
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
    const second = forms(shards[1]!, ROOM, Form.v1);
    await held.release();
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.plain, generation: first },
    ]);
    assert.deepEqual(shards[1]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.v1, generation: second },
    ]);
    // One subscription serves all shards, and a further form is opened at once.
    assert.equal(held.subscribed.filter((subject) => subject === subjects.room('r')).length, 1);
    const third = forms(shards[0]!, ROOM, Form.plain | Form.deflate);
    assert.deepEqual(shards[0]!.messagesOf('subscribed').at(-1), {
      type: 'subscribed',
      key: ROOM,
      mask: 5,
      generation: third,
    });
  });

  it('is not opened for a shard that has left it meanwhile', async () => {
    held.held = true;
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    await held.release();
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
  });

  it('is not opened by the late answer to a subscription that it had before', async () => {
    held.held = true;
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    clock.advance(5_000);
    const late = held;
    await settled();
    // The room begins anew while the first subscription is still to be answered; its own is never ready.
    const before = late.subscribed.length;
    const releaseFirst = late.release.bind(late);
    const first = releaseFirst();
    forms(shards[0]!, ROOM, Form.plain);
    await first;
    assert.equal(late.subscribed.length, before + 1);
    assert.deepEqual(shards[0]!.messagesOf('subscribed'), []);
    await late.release();
    assert.equal(shards[0]!.messagesOf('subscribed').length, 1);
  });

  it('is shut where the server takes its subscription back, and opened when it grants it', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await settled();
    const change = held.changes.get(subjects.room('r'))!;
    change(false);
    assert.deepEqual(shards[0]!.messagesOf('subscriptionRefused'), [{ type: 'subscriptionRefused', key: ROOM }]);
    assert.deepEqual(shards[1]!.messagesOf('subscriptionRefused'), [], 'it has no member there');
    const generation = forms(shards[1]!, ROOM, Form.v1);
    assert.equal(shards[1]!.messagesOf('subscribed').length, 0);
    change(true);
    assert.deepEqual(shards[1]!.messagesOf('subscribed'), [
      { type: 'subscribed', key: ROOM, mask: Form.v1, generation },
    ]);
    assert.equal(shards[0]!.messagesOf('subscribed').length, 2);
  });

  it('keeps its subscription for 5 s when it is empty, and then ends', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    assert.equal(hub.rooms, 1);
    forms(shards[0]!, ROOM, 0);
    assert.equal(hub.rooms, 0);
    clock.advance(4_999);
    assert.deepEqual(held.unsubscribed, []);
    clock.advance(1);
    assert.deepEqual(held.unsubscribed, [subjects.room('r')]);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(shards[0]!.batches, []);
    assert.equal(clock.timers, 0);
  });

  it('that a flood of joins and leaves begins is paced, and those that are empty are kept in a limited number', async () => {
    start(settingsWith(), 2, 300);
    const rooms = Array.from({ length: 1_500 }, (_, i) => roomKey(`r${i}`));
    for (const [i, key] of rooms.entries()) {
      forms(shards[i % 2]!, key, Form.plain);
      // Of those that wait to be subscribed for nothing is left.
      if (i % 3 === 0) forms(shards[i % 2]!, key, 0);
    }
    assert.ok(held.subscribed.length < 300, `${held.subscribed.length} subscriptions at once`);
    assert.ok(hub.channels.kept < 1_100, `${hub.channels.kept} rooms kept`);
    while (hub.channels.waiting > 0) {
      const before = held.subscribed.length;
      clock.advance(50);
      assert.ok(held.subscribed.length - before <= 250, `${held.subscribed.length - before} at once`);
    }
    assert.equal(hub.rooms, 1_000);
    for (const [i, key] of rooms.entries()) if (i % 3) forms(shards[i % 2]!, key, 0);
    assert.equal(hub.rooms, 0);
    assert.equal(hub.channels.empty, 300);
    assert.equal(hub.channels.kept, 301, 'and all');
    assert.ok((await counted('rooms_ended_early_total')) >= 700);
    clock.advance(5_000);
    assert.deepEqual(hub.channels, { kept: 1, empty: 0, waiting: 0 });
    const ofRooms = (list: string[]) => list.filter((subject) => subject.includes('.room.')).length;
    assert.equal(ofRooms(held.subscribed), ofRooms(held.unsubscribed));
    assert.equal(await counted('room_subscriptions_total'), ofRooms(held.subscribed));
    assert.equal(clock.timers, 0);
  });

  it('does not end where somebody came back in time, on whichever shard', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    forms(shards[0]!, ROOM, 0);
    clock.advance(4_000);
    forms(shards[1]!, ROOM, Form.v1);
    assert.equal(shards[1]!.messagesOf('subscribed').length, 1, 'the subscription is there still');
    clock.advance(60_000);
    assert.deepEqual(held.unsubscribed, []);
    await publish(subjects.room('r'), ['1']);
    assert.equal(shards[1]!.batches.length, 1);
  });

  it('does not end while another shard has a member', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[1]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    clock.advance(60_000);
    assert.deepEqual(held.unsubscribed, []);
  });

  it('ends when the shard with its members dies', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await settled();
    hub.shardDied(shards[0]!);
    assert.equal(hub.rooms, 0, 'nobody listens there any more');
    clock.advance(5_000);
    assert.deepEqual(held.unsubscribed, [subjects.room('r')]);
  });
});
