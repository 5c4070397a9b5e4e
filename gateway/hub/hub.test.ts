import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { SessionOpened } from '@pushcluster/protocol/control.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { roomKey, userKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import {
  asked,
  clock,
  command,
  counted,
  forms,
  held,
  hub,
  plainItems,
  publish,
  publishToUsers,
  replies,
  settled,
  shards,
  start,
  subjects,
  WALL,
} from '../simulation/startedHub.ts';

beforeEach(() => start());

describe('the hub', () => {
  it('is ready once its subscriptions are', async () => {
    start();
    assert.equal(hub.ready, false);
    await settled();
    assert.equal(hub.ready, true);
  });

  it('applies changed settings to its rooms in slices, and those of a later change only where two come', async () => {
    const configured: (string | undefined)[] = [];
    const costly = (maxDelay: number) => {
      const settings = settingsWith({ gateway: { batching: { maxDelay } } });
      const { gateway } = settings;
      Object.defineProperty(settings, 'gateway', {
        get() {
          clock.freeze(1);
          configured.push(`${maxDelay}`);
          return gateway;
        },
      });
      return settings;
    };
    for (let i = 0; i < 99; i++) forms(shards[0]!, roomKey(`${i}`), Form.plain);
    clock.turn();
    hub.configure(costly(100));
    assert.equal(configured.length, 8, 'a millisecond each');
    clock.turn();
    hub.configure(costly(200));
    const slices: number[] = [];
    for (let before = configured.length; clock.turn(); before = configured.length)
      slices.push(configured.length - before);
    assert.ok(Math.max(...slices) <= 8, `${slices}`);
    assert.deepEqual(
      configured.map((maxDelay, i) => maxDelay !== configured[i - 1] && maxDelay),
      configured.map((_, i) => (i === 0 ? '100' : i === 16 && '200')),
    );
    assert.equal(configured.length, 16 + 100, 'all rooms, and all');
  });

  it('forgets the users of a shard that died in slices, and none that came back meanwhile', async () => {
    const users = Array.from({ length: 100 }, (_, i) => `${i}`);
    for (const [i, user] of users.entries()) {
      hub.receive(shards[0]!, { type: 'session', user, session: i + 1, at: clock.now() });
      forms(shards[0]!, userKey(user), Form.plain);
    }
    // A user who was pushed to has a channel.
    await publishToUsers([{ users, texts: ['1'] }], 1);
    assert.equal(hub.channels.kept, 101);
    while (clock.turn());
    const { after } = clock;
    clock.after = (ms, run) => {
      clock.freeze(1);
      return after.call(clock, ms, run);
    };
    hub.shardDied(shards[0]!);
    assert.equal(hub.channels.empty, 8, 'a millisecond each');
    clock.freeze(1);
    for (const user of ['0', '50']) {
      hub.receive(shards[0]!, { type: 'session', user, session: 1, at: clock.now() });
      forms(shards[0]!, userKey(user), Form.plain);
    }
    const slices: number[] = [];
    for (let before = hub.channels.empty; clock.turn(); before = hub.channels.empty)
      slices.push(hub.channels.empty - before);
    assert.ok(Math.max(...slices) <= 8, `${slices}`);
    assert.equal(hub.channels.empty, 98);
    clock.after = after;
    clock.advance(10_000);
    assert.equal(hub.channels.kept, 3);
    shards[0]!.batches.length = 0;
    await publishToUsers([{ users, texts: ['2'] }], 2);
    assert.deepEqual(
      shards[0]!.batches.map(({ key }) => key),
      [userKey('0'), userKey('50')],
    );
  });

  it('says when the bus goes away and comes back, and whether it is there, by a receipt', async () => {
    held.tell({ type: 'disconnected', reason: 'cut' });
    held.answers = false;
    hub.receive(shards[0]!, { type: 'verify', receipt: 1 });
    await settled();
    clock.advance(0);
    held.tell({ type: 'connected', reconnects: 1 });
    assert.deepEqual(shards[1]!.messagesOf('bus'), [
      { type: 'bus', connected: false },
      { type: 'bus', connected: true },
    ]);
    assert.deepEqual(shards[0]!.messagesOf('verified'), []);
    // A receipt that failed for something that was refused: the bus is there.
    hub.receive(shards[0]!, { type: 'verify', receipt: 2 });
    await settled();
    clock.advance(0);
    held.answers = true;
    hub.receive(shards[0]!, { type: 'verify', receipt: 3 });
    await settled();
    assert.deepEqual(
      shards[0]!.messagesOf('verified').map(({ receipt }) => receipt),
      [2, 3],
    );
    assert.deepEqual(shards[1]!.messagesOf('verified'), []);
  });

  it('passes disconnects on to every shard', async () => {
    for (const command of [
      { type: 'disconnect_user', user: 'u', reason: 'banned' },
      { type: 'disconnect_room', room: 'r', reason: 'over' },
    ])
      held.local.publish(subjects.command, Buffer.from(JSON.stringify(command)));
    await settled();
    for (const shard of shards) {
      assert.deepEqual(shard.messagesOf('disconnectUser'), [{ type: 'disconnectUser', user: 'u', reason: 'banned' }]);
      assert.deepEqual(shard.messagesOf('disconnectRoom'), [{ type: 'disconnectRoom', room: 'r', reason: 'over' }]);
    }
  });

  it('passes a disconnect on after all that was pushed before it, also if that waits for its window or its turn', async () => {
    start(settingsWith({ gateway: { batching: { adaptive: false } } }));
    const [shard] = shards;
    const order: string[] = [];
    forms(shard!, roomKey('r'), Form.plain);
    forms(shard!, userKey('u'), Form.plain);
    shard!.onFrames = () => {
      order.push(`frames, then ${2 - disconnects().length} disconnects`);
      clock.freeze(10);
    };
    const disconnects = () => [...shard!.messagesOf('disconnectRoom'), ...shard!.messagesOf('disconnectUser')];
    await publish(subjects.room('r'), ['"first"']);
    await publishToUsers([{ users: ['u'], texts: ['"first"'] }], 1);
    while (clock.turn());
    await publish(subjects.room('r'), ['"waits"']);
    await publishToUsers([{ users: ['u'], texts: ['"waits"'] }], 2);
    assert.equal(order.length, 2);
    await command({ type: 'disconnect_room', room: 'r', reason: 'over' });
    await command({ type: 'disconnect_user', user: 'u', reason: 'banned' });
    while (clock.turn());
    assert.deepEqual(plainItems(shard!, roomKey('r')), ['first', 'waits']);
    assert.deepEqual(plainItems(shard!, userKey('u')), ['first', 'waits']);
    const twice = 'frames, then 2 disconnects';
    assert.deepEqual(order, [twice, twice, twice, 'frames, then 1 disconnects']);
    assert.equal(disconnects().length, 2);
  });

  it('answers questions with the sum of its shards, asking those that listen', async () => {
    start(settingsWith(), 3);
    shards[2]!.listening = false;
    const answers = replies();
    const ask = command;
    await ask({ type: 'room', ask: '1', room: 'r' });
    for (const shard of shards.slice(0, 2))
      hub.receive(shard, { type: 'answer', answer: { type: 'room', ask: '1', connections: 4 } });
    await ask({ type: 'user', ask: '2', user: 'u' });
    hub.receive(shards[0]!, { type: 'answer', answer: { type: 'user', ask: '2', connections: 1 } });
    clock.advance(300);
    await ask({ type: 'rooms', ask: '3', limit: 2 });
    const rooms = [
      [
        { room: 'a', connections: 5 },
        { room: 'b', connections: 3 },
      ],
      [
        { room: 'b', connections: 4 },
        { room: 'c', connections: 1 },
      ],
    ];
    for (const [i, list] of rooms.entries())
      hub.receive(shards[i]!, { type: 'answer', answer: { type: 'rooms', ask: asked(shards[i]!), rooms: list } });
    await ask({ type: 'stats', ask: '4' });
    await settled();
    const [room, user, fullest, stats] = answers;
    assert.deepEqual(room, { type: 'room', ask: '1', gateway: 'g1', gateways: 3, connections: 8 });
    assert.deepEqual(user, { type: 'user', ask: '2', gateway: 'g1', gateways: 3, connections: 1, missing: 1 });
    assert.deepEqual(fullest, {
      type: 'rooms',
      ask: '3',
      gateway: 'g1',
      gateways: 3,
      total: 0,
      missing: 0,
      rooms: [
        { room: 'b', connections: 7 },
        { room: 'a', connections: 5 },
      ],
    });
    assert.equal(stats?.type === 'stats' && stats.stats.gateway, 'g1');
    assert.deepEqual(shards[2]!.messagesOf('ask'), []);
  });

  it('asks its shards for the fullest rooms once a second, however many ask, and each gets what it asked for', async () => {
    const answers = replies();
    for (let i = 0; i < 300; i++) await command({ type: 'rooms', ask: `a${i}`, limit: 1 + (i % 3) });
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    assert.equal(answers.length, 0);
    const rooms = ['a', 'b', 'c'].map((room, i) => ({ room, connections: 9 - i }));
    const answer = () => {
      for (const shard of shards)
        hub.receive(shard, { type: 'answer', answer: { type: 'rooms', ask: asked(shard), rooms } });
    };
    answer();
    await settled();
    assert.equal(answers.length, 300);
    clock.advance(999);
    await command({ type: 'rooms', ask: 'soon', limit: 2 });
    assert.equal(answers.length, 301);
    for (const [i, one] of answers.slice(0, 300).entries())
      assert.deepEqual(
        one.type === 'rooms' && one.rooms.map(({ room }) => room),
        ['a', 'b', 'c'].slice(0, 1 + (i % 3)),
      );
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    clock.advance(1);
    await command({ type: 'rooms', ask: 'later', limit: 2 });
    assert.equal(shards[0]!.messagesOf('ask').length, 2);
    answer();
    await settled();
    assert.equal(answers.at(-1)?.ask, 'later');
  });

  it('cuts the list of rooms by bytes, whatever they are named, and says how many there are', async () => {
    const answers = replies();
    const names = [0x01, 0x22, 0x5c, 0x7f, 0x61].map((code) => String.fromCharCode(code).repeat(124));
    const rooms = Array.from({ length: 4_000 }, (_, i) => ({ room: `${names[i % 5]}${i}`, connections: 2 }));
    for (const { room } of rooms) forms(shards[0]!, roomKey(room), Form.plain);
    assert.equal(hub.rooms, 4_000);
    await command({ type: 'rooms', ask: 'q', limit: 4_000 });
    for (const shard of shards)
      hub.receive(shard, { type: 'answer', answer: { type: 'rooms', ask: asked(shard), rooms } });
    await settled();
    const [answer] = answers;
    assert.ok(answer?.type === 'rooms');
    assert.ok(answer.rooms.length > 500 && answer.rooms.length < 4_000, `${answer.rooms.length} rooms`);
    assert.equal(answer.total, 4_000);
    assert.equal(await counted('internal_errors_total'), 0);
  });

  it('says where a shard was too busy to answer, and keeps no list that lacks something', async () => {
    const answers = replies();
    await command({ type: 'rooms', ask: 'q', limit: 10 });
    hub.receive(shards[1]!, { type: 'answer', answer: { type: 'rooms', ask: asked(shards[1]!), rooms: [] } });
    clock.advance(300);
    await settled();
    assert.ok(answers[0]?.type === 'rooms');
    assert.equal(answers[0].missing, 1);
    await command({ type: 'rooms', ask: 'r', limit: 10 });
    assert.equal(shards[0]!.messagesOf('ask').length, 2);
  });

  it('says in its stats how many of its shards have yet to count', async () => {
    const answers = replies();
    shards[0]!.counts = undefined;
    await command({ type: 'stats', ask: 's' });
    assert.equal(answers[0]?.missing, 1);
  });

  it('goes on after a message of the bus that it could not follow, which is counted', async () => {
    const { send } = shards[0]!;
    shards[0]!.send = () => {
      throw new Error('no');
    };
    await command({ type: 'disconnect_user', user: 'u', reason: 'x' });
    shards[0]!.send = send;
    await command({ type: 'disconnect_user', user: 'v', reason: 'x' });
    assert.equal(await counted('internal_errors_total'), 1);
    assert.equal(shards[0]!.messagesOf('disconnectUser').length, 1);
  });

  it('counts an answer that the bus does not take, and goes on', async () => {
    const { publish } = held.local;
    held.local.publish = (subject, bytes) => {
      if (subject === 'reply.1') throw new RangeError('over the bus’s limit');
      publish.call(held.local, subject, bytes);
    };
    await command({ type: 'stats', ask: 's' });
    await command({ type: 'room', ask: 'r', room: 'r' });
    clock.advance(300);
    assert.equal(await counted('internal_errors_total'), 2);
  });

  it('lets a newer session of a user replace the older on other shards and gateways, and not its own', async () => {
    const notices: SessionOpened[] = [];
    held.local.subscribe(subjects.session, (bytes) =>
      notices.push(SessionOpened.parse(JSON.parse(Buffer.from(bytes).toString()))),
    );
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    await settled();
    assert.deepEqual(
      notices.map(({ gateway, user }) => [gateway, user]),
      [['g1', 'u']],
    );
    assert.deepEqual(shards[0]!.messagesOf('replaced'), []);
    assert.deepEqual(shards[1]!.messagesOf('replaced'), [{ type: 'replaced', user: 'u', upTo: 0 }]);
    const order = notices[0]!.order! + 1;
    held.local.publish(subjects.session, Buffer.from(JSON.stringify({ gateway: 'g2', user: 'u', at: 9, order })));
    await settled();
    assert.deepEqual(
      shards.map((shard) => shard.messagesOf('replaced').at(-1)?.upTo),
      [7, 0],
      'those that it told of',
    );
  });

  it('goes by when shards opened sessions of a user, not by when it heard of them', async () => {
    const notices: SessionOpened[] = [];
    held.local.subscribe(subjects.session, (bytes) =>
      notices.push(SessionOpened.parse(JSON.parse(Buffer.from(bytes).toString()))),
    );
    clock.advance(10_000);
    const now = clock.now();
    hub.receive(shards[1]!, { type: 'session', user: 'u', session: 3, at: now - 4_000 });
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: now - 5_000 });
    await settled();
    assert.deepEqual(
      shards.map((shard) => shard.messagesOf('replaced').map(({ upTo }) => upTo)),
      [[0, 7], []],
      'the later one stays',
    );
    const order = WALL + now - 4_000;
    assert.deepEqual(
      notices.map((word) => word.order),
      [order],
      'one that was opened elsewhere since is newer',
    );
  });

  it('takes the word of an older version, which has no order, for the newest', async () => {
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    held.local.publish(subjects.session, Buffer.from(JSON.stringify({ gateway: 'g2', user: 'u', at: 9 })));
    await settled();
    assert.deepEqual(shards[0]!.messagesOf('replaced'), [{ type: 'replaced', user: 'u', upTo: 7 }]);
  });

  it('goes on where the bus is closed under it', async () => {
    await held.local.close();
    hub.receive(shards[0]!, { type: 'session', user: 'u', session: 7, at: 0 });
    assert.equal(shards[1]!.messagesOf('replaced').length, 1);
  });
});
