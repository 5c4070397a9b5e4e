import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { missedSize } from '../ipc/messages.ts';
import type { ResumeAnswer } from '../ipc/resume.ts';
import {
  auth,
  confirm,
  forms,
  identities,
  join,
  last,
  leave,
  loop,
  nextSecond,
  open,
  type Peer,
  push,
  pushes,
  ROOM,
  reset,
  second,
  send,
  shard,
  start,
  toHub,
  verify,
} from '../simulation/testShard.ts';

beforeEach(reset);

describe('JOIN and LEAVE', () => {
  it('bring a room’s items and end them, without an answer where there is no id', () => {
    const peer = open();
    join(peer, 'r');
    confirm(ROOM);
    push(ROOM);
    leave(peer, 'r');
    push(ROOM);
    assert.deepEqual(pushes(peer), [ROOM]);
    assert.equal(peer.socket.sent.length, 1);
    assert.equal(shard.rooms, 0);
  });

  it('are answered OK: JOIN once the hub has opened the room, LEAVE at once, also of a room that it is not in', () => {
    const peer = open();
    join(peer, 'r', 1);
    assert.deepEqual(peer.socket.sent, []);
    confirm(ROOM);
    assert.deepEqual(last(peer), { type: 'OK', id: 1, data: { room: 'r' } });
    join(peer, 'r', 2);
    verify();
    assert.deepEqual(last(peer), { type: 'OK', id: 2, data: { room: 'r' } });
    leave(peer, 'r', 3);
    assert.deepEqual(last(peer), { type: 'OK', id: 3, data: { room: 'r' } });
    leave(peer, 'never', 4);
    assert.deepEqual(last(peer), { type: 'OK', id: 4, data: { room: 'never' } });
  });

  it('answer a JOIN of an open room when the bus was there after it, one question for all of a moment', () => {
    const [first, second, third] = [open(), open(), open(Form.plain)];
    join(first, 'r', 1);
    confirm(ROOM);
    const asked = () => toHub.filter(({ type }) => type === 'verify').length;
    const before = asked();
    join(second, 'r', 2);
    join(third, 'r', 3);
    assert.equal(second.socket.sent.length, 0);
    loop.idle();
    assert.equal(asked(), before + 1);
    join(first, 'r', 4);
    shard.handle({ type: 'verified', receipt: before + 1 });
    assert.equal(second.socket.sent.length, 1);
    assert.equal(third.socket.sent.length, 0, 'its form is yet to be opened');
    assert.equal(last(first)?.id, 1, 'that receipt was asked for before its JOIN');
    confirm(ROOM);
    assert.equal(third.socket.sent.length, 1);
    assert.equal(last(first)?.id, 4);
  });

  it('refuse a JOIN that can’t be in force for three seconds, and whoever was a member stays one', () => {
    const [member, newcomer, silent] = [open(), open(), open()];
    join(member, 'r', 1);
    confirm(ROOM);
    shard.handle({ type: 'bus', connected: false });
    join(member, 'r', 2);
    join(newcomer, 'r', 3);
    join(silent, 'r');
    loop.idle();
    verify();
    for (const [time, answers] of [
      [2_999, [1, undefined]],
      [3_000, [2, 3]],
    ] as const) {
      loop.time = time;
      shard.expire(1);
      assert.deepEqual([last(member)?.id, last(newcomer)?.id], answers);
    }
    for (const peer of [member, newcomer]) assert.deepEqual(last(peer)?.data.code, 'unavailable');
    assert.equal(silent.socket.sent.length, 0);
    push(ROOM);
    assert.deepEqual(
      [member, newcomer, silent].map((peer) => pushes(peer).length),
      [1, 0, 1],
    );
  });

  it('answer a JOIN that waited through an outage by a receipt of the new connection', () => {
    const [member, newcomer] = [open(), open()];
    join(member, 'r', 1);
    confirm(ROOM);
    join(newcomer, 'r', 2);
    loop.idle();
    shard.handle({ type: 'bus', connected: false });
    verify();
    assert.equal(newcomer.socket.sent.length, 0, 'the bus went away since');
    shard.handle({ type: 'bus', connected: true });
    assert.equal(newcomer.socket.sent.length, 0);
    verify();
    assert.equal(last(newcomer)?.type, 'OK');
  });

  it('take v1 members out of a room that the bus refuses, and answer no JOIN until it is opened', () => {
    const [v1, plain] = [open(), open(Form.plain)];
    for (const peer of [v1, plain]) join(peer, 'r', 1);
    confirm(ROOM);
    shard.handle({ type: 'subscriptionRefused', key: ROOM });
    loop.idle();
    assert.deepEqual([last(v1)?.type, last(v1)?.data.code], ['LEAVE', 'unavailable']);
    assert.equal(last(plain)?.type, 'OK');
    join(v1, 'r', 2);
    verify();
    assert.equal(last(v1)?.type, 'LEAVE');
    shard.handle({ type: 'subscriptionRefused', key: ROOM });
    loop.idle();
    confirm(ROOM);
    assert.deepEqual([last(v1)?.type, last(v1)?.id], ['OK', 2]);
    shard.handle({ type: 'subscriptionRefused', key: roomKey('nobody') });
  });

  it('take no answer to an earlier word for one to the last', () => {
    const peer = open();
    join(peer, 'r');
    const early = forms(ROOM).at(-1)!;
    leave(peer, 'r');
    join(peer, 'r', 7);
    shard.handle({ type: 'subscribed', key: ROOM, mask: early.mask, generation: early.generation });
    assert.deepEqual(peer.socket.sent, [], 'the hub has yet to read that it is back');
    confirm(ROOM);
    assert.deepEqual(last(peer), { type: 'OK', id: 7, data: { room: 'r' } });
  });

  it('let one JOIN of a room wait at a time', () => {
    const [peer, gone, other] = [open(), open(), open()];
    for (const each of [peer, gone, other]) join(each, 'r', 1);
    join(peer, 'r', 2);
    assert.deepEqual([last(peer)?.id, last(peer)?.data.code], [2, 'unavailable']);
    leave(peer, 'r', 3);
    shard.closed(gone.connection, 1001);
    confirm(ROOM);
    assert.equal(last(peer)?.id, 3, 'one that left is not told that it is in');
    assert.equal(gone.socket.sent.length, 0, 'nothing is said to a connection that is gone');
    assert.equal(last(other)?.type, 'OK');
  });

  it('bring no item twice where a room is joined twice', () => {
    const peer = open();
    join(peer, 'r');
    join(peer, 'r');
    push(ROOM);
    assert.deepEqual(pushes(peer), [ROOM]);
    leave(peer, 'r');
    push(ROOM);
    assert.deepEqual(pushes(peer), [ROOM]);
  });

  it('tell the hub which forms a room needs, when that changes', () => {
    const [plain, v1, other] = [open(Form.plain), open(Form.v1), open(Form.v1)];
    for (const peer of [plain, v1, other]) join(peer, 'r');
    for (const peer of [other, plain, v1]) leave(peer, 'r');
    assert.deepEqual(
      forms(ROOM).map(({ mask }) => mask),
      [Form.plain, Form.plain | Form.v1, Form.v1, 0],
    );
    const turns = forms().map(({ generation }) => generation);
    assert.deepEqual(
      turns,
      [...turns].sort((a, b) => a - b),
    );
    assert.equal(new Set(turns).size, turns.length);
  });

  it('are limited for a connection: its user is no room', () => {
    start({ gateway: { rooms: { maxPerConnection: 2 } } });
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    for (const room of ['a', 'b']) join(peer, room);
    join(peer, 'c', 1);
    assert.deepEqual([last(peer)?.type, last(peer)?.data.code], ['ERROR', 'room_limit']);
    join(peer, 'b', 2);
    confirm(roomKey('b'));
    assert.equal(last(peer)?.id, 2, 'a room that it is in is no further one');
    leave(peer, 'a');
    join(peer, 'c', 3);
    confirm(roomKey('c'));
    assert.deepEqual([last(peer)?.type, last(peer)?.id], ['OK', 3]);
  });

  it('are limited for a shard: users are no rooms, and a room that is there takes more members', () => {
    start({ gateway: { rooms: { max: 2 } } });
    const peers = ['u', 'v', 'w', 'x'].map((user) => open(Form.v1, { user, expires: 0 }));
    join(peers[0]!, 'a');
    join(peers[1]!, 'b');
    join(peers[2]!, 'c', 1);
    assert.equal(last(peers[2]!)?.data.code, 'unavailable', 'another gateway may have room');
    join(peers[3]!, 'a', 2);
    confirm(roomKey('a'));
    assert.equal(last(peers[3]!)?.type, 'OK');
    assert.equal(shard.rooms, 2);
    leave(peers[1]!, 'b');
    join(peers[2]!, 'c', 3);
    confirm(roomKey('c'));
    assert.equal(last(peers[2]!)?.type, 'OK');
  });

  it('are refused for a room that the token does not allow', () => {
    const peer = open(Form.v1, { expires: 0, rooms: ['live-*', 'lobby'] });
    for (const [id, room] of ['live-1', 'lobby', 'lobby2', 'x'].entries()) join(peer, room, id);
    for (const { key } of forms()) if (key !== ALL) confirm(key);
    assert.deepEqual(
      peer.socket.frames.map(({ type, id }) => `${type} ${id}`),
      ['ERROR 2', 'ERROR 3', 'OK 0', 'OK 1'],
    );
    assert.equal(peer.socket.frames[0]?.data.code, 'room_forbidden');
  });

  it('are undone when the connection closes, while a broadcast is under way too', () => {
    const peers = Array.from({ length: 100 }, () => open());
    for (const peer of peers) join(peer, 'r');
    for (const { socket } of peers)
      socket.onSend = () => {
        loop.time += 1;
      };
    const bytes = Buffer.from('{"type":"PUSH","data":{"key":"rr"}}');
    shard.frame({ key: ROOM, items: 1, frames: [{ form: Form.v1, binary: false, bytes }], ages: [], size: 50 });
    loop.turn();
    const reached = peers.filter((peer) => pushes(peer).length > 0).length;
    assert.ok(reached > 0 && reached < 100, `${reached} were reached in the first slice`);
    for (const { connection } of peers) shard.closed(connection, 1001);
    assert.equal(shard.rooms, 1, 'a room with a job under way');
    loop.idle();
    assert.equal(shard.rooms, 0);
    shard.reportDone();
    assert.deepEqual(toHub.at(-1), { type: 'done', bytes: 50 });
  });
});

describe('a connection that begins many rooms', () => {
  it('may begin 100 at once and 10 a second, whatever it leaves; rooms that somebody is in don’t count', () => {
    start({ gateway: { inbound: { frameRate: 10_000 } } });
    const [peer, other] = [open(), open()];
    join(other, 'full');
    let refused = 0;
    let begun = 0;
    const sent = (frame: object) => {
      const text = JSON.stringify(frame);
      shard.received(peer.connection, text, text.length, second);
    };
    for (let now = 0; now < 10; now++, nextSecond()) {
      for (let i = 0; i < 200; i++) {
        const before = peer.socket.frames.filter(({ type }) => type === 'ERROR').length;
        sent({ type: 'JOIN', id: i, data: { room: `${now} ${i}` } });
        if (peer.socket.frames.filter(({ type }) => type === 'ERROR').length > before) refused++;
        else begun++;
        sent({ type: 'LEAVE', data: { room: `${now} ${i}` } });
        sent({ type: 'JOIN', data: { room: 'full' } });
        sent({ type: 'LEAVE', data: { room: 'full' } });
      }
    }
    assert.equal(begun, 100 + 9 * 10);
    assert.equal(begun + refused, 2_000);
    assert.equal(last(peer)?.data.code, 'unavailable');
    assert.equal(shard.rooms, 1);
  });

  it('may begin as many at once as it may be in', () => {
    start({ gateway: { rooms: { maxPerConnection: 500 }, inbound: { frameRate: 10_000 } } });
    const peer = open();
    for (let i = 0; i < 500; i++) {
      const text = JSON.stringify({ type: 'JOIN', id: i, data: { room: `${i}` } });
      shard.received(peer.connection, text, text.length, second);
    }
    assert.equal(shard.rooms, 500);
  });
});

describe('a JOIN that waits for its answer', () => {
  type Ways = Record<string, { out: (peer: Peer) => unknown; code: string; told: string[] }>;
  const ways: Ways = {
    'a LEAVE in the same write': { out: (peer) => leave(peer, 'r', 2), code: 'left', told: ['ERROR', 'OK'] },
    'a LEAVE without an id': { out: (peer) => leave(peer, 'r'), code: 'left', told: ['ERROR'] },
    'the API': {
      out: () => {
        shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' });
        loop.idle();
      },
      code: 'left',
      told: ['ERROR'],
    },
    'a new token': { out: (peer) => auth(peer, 'narrow', 2), code: 'room_forbidden', told: ['ERROR', 'OK'] },
  };
  for (const [way, { out, code, told: types }] of Object.entries(ways))
    it(`is answered ${code} where ${way} takes it out of the room, and told of it by nothing else`, async () => {
      const peer = open();
      identities.set('narrow', { rooms: ['s'], expires: 0 });
      join(peer, 'r', 1);
      await out(peer);
      const { frames } = peer.socket;
      assert.deepEqual(
        frames.map(({ type }) => type),
        types,
      );
      assert.deepEqual([frames[0]?.id, frames[0]?.data.code], [1, code]);
      assert.deepEqual(shard.counts.ignored, { [code]: 1 });
      confirm(ROOM);
      assert.equal(frames.length, types.length, 'and once');
    });

  it('is answered anew after it was left and joined again', () => {
    const peer = open();
    join(peer, 'r', 1);
    leave(peer, 'r', 2);
    join(peer, 'r', 3);
    confirm(ROOM);
    assert.deepEqual(
      peer.socket.frames.map(({ type, id }) => [type, id]),
      [
        ['ERROR', 1],
        ['OK', 2],
        ['OK', 3],
      ],
    );
  });
});

describe('a JOIN of a room with history', () => {
  const place = { epoch: 'e', seq: 5 };
  const frame = { seq: 5, items: 2, text: '{"type":"PUSH","data":{"room":"r"}}' };

  function ask(peer: Peer, id?: number) {
    send(peer, {
      type: 'JOIN',
      ...(id === undefined ? {} : { id }),
      data: { room: 'r', since: { epoch: 'e', seq: 3 } },
    });
    confirm(ROOM);
  }

  /** Answers the last question of a member. */
  function answer(answer: ResumeAnswer) {
    const asked = toHub.filter((message) => message.type === 'resume').at(-1);
    assert.ok(asked);
    shard.handle({ type: 'resumed', key: ROOM, ask: asked.ask, answer, size: 0 });
    loop.idle();
  }

  const typesOf = ({ socket }: Peer) => socket.frames.map(({ type }) => type);
  const asks = () => toHub.filter(({ type }) => type === 'resume').length;

  beforeEach(() => start({ rooms: [{ match: '*', history: {} }] }));

  it('brings what was missed behind its OK, and without an id as well', () => {
    for (const id of [1, undefined]) {
      const peer = open();
      ask(peer, id);
      answer({ type: 'resumed', place, recovered: true, frames: [frame], isAll: true });
      assert.deepEqual(typesOf(peer), id === undefined ? ['PUSH'] : ['OK', 'PUSH']);
      push(ROOM);
      assert.equal(pushes(peer).length, 2, 'and what is new');
    }
    // A frame of two items that each missed, and one of one item to the first and then to both.
    const { framesSent, messagesDelivered, bytesSent } = shard.counts;
    assert.deepEqual([framesSent, messagesDelivered], [5, 7]);
    assert.ok(bytesSent > 2 * frame.text.length, `${bytesSent} bytes`);
  });

  it('without an id tells v1 clients by RESET that something may be missing', () => {
    for (const [form, told] of [
      [Form.v1, ['RESET']],
      [Form.plain, []],
    ] as const) {
      const peer = open(form);
      ask(peer);
      answer({ type: 'resumed', place, recovered: false, frames: [], isAll: true });
      assert.deepEqual(typesOf(peer), told);
    }
  });

  it('without an id is never refused: the hub is asked until it can tell', () => {
    const peer = open();
    ask(peer);
    answer({ type: 'unavailable' });
    assert.equal(asks(), 1);
    shard.expire(nextSecond());
    assert.equal(asks(), 2);
    answer({ type: 'resumed', place, recovered: true, frames: [frame], isAll: true });
    assert.deepEqual(typesOf(peer), ['PUSH']);
    assert.equal(shard.rooms, 1);
  });

  it('without an id is only a JOIN in a room without history', () => {
    start();
    const peer = open();
    ask(peer);
    push(ROOM);
    assert.deepEqual([typesOf(peer), asks()], [['PUSH'], 0]);
  });

  it('is followed by all of the room, also by what was left out on its way to this shard', () => {
    const peers = [Form.plain, Form.v1, Form.deflate].map((form) => open(form));
    for (const peer of peers) {
      ask(peer, 1);
      answer({ type: 'resumed', place, recovered: true, frames: [], isAll: true });
    }
    const before = asks();
    shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
    shard.frame({ key: ROOM, items: 1, frames: [], ages: [], place: { epoch: 'e', prev: 7, seq: 8 }, size: 100 });
    loop.idle();
    const asked = toHub.filter((message) => message.type === 'resume').slice(before);
    assert.deepEqual(
      asked.map(({ form, from }) => [form, from]),
      peers.map(({ connection }) => [connection.form, { type: 'next', after: place }]),
    );
    for (const { ask } of asked) {
      const later = { epoch: 'e', seq: 8 };
      const frames = [{ ...frame, seq: 8 }];
      shard.handle({
        type: 'resumed',
        key: ROOM,
        ask,
        answer: { type: 'resumed', place: later, recovered: true, frames, isAll: true },
        size: 0,
      });
    }
    loop.idle();
    push(ROOM);
    loop.idle();
    for (const peer of peers) assert.deepEqual(typesOf(peer), ['OK', 'PUSH', 'PUSH']);
    assert.deepEqual(shard.counts.dropped, { slow: 0, overload: 0, bus_gap: 0 });
    shard.reportDone();
    const done = toHub.reduce((sum, message) => sum + (message.type === 'done' ? message.bytes : 0), 0);
    assert.ok(done >= missedSize(ROOM), 'the hub knows that it was handled');
  });

  it('is followed by one question for all who lack the same, however many they are', () => {
    const peers = Array.from({ length: 200 }, () => open());
    for (const peer of peers) {
      ask(peer, 1);
      answer({ type: 'resumed', place, recovered: true, frames: [], isAll: true });
    }
    const before = asks();
    const leaveOut = () => {
      shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
      loop.idle();
    };
    leaveOut();
    assert.equal(asks(), before + 1);
    const gone = peers.pop()!;
    shard.closed(gone.connection, 1001);
    const next = { epoch: 'e', seq: 9 };
    answer({ type: 'resumed', place: next, recovered: true, frames: [{ ...frame, seq: 7 }], isAll: false });
    assert.equal(asks(), before + 2, 'the rest, too');
    answer({ type: 'resumed', place: next, recovered: true, frames: [{ ...frame, seq: 9 }], isAll: true });
    push(ROOM);
    loop.idle();
    for (const peer of peers) assert.deepEqual(typesOf(peer), ['OK', 'PUSH', 'PUSH', 'PUSH']);
    assert.deepEqual(typesOf(gone), ['OK']);
  });

  it('is asked for anew once the answer has come, also in the middle of one long turn', () => {
    const peer = open();
    ask(peer, 1);
    answer({ type: 'resumed', place, recovered: true, frames: [], isAll: true });
    for (let time = 1; time <= 3; time++) {
      shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
      shard.broadcast(8);
      const asked = toHub.filter((message) => message.type === 'resume');
      assert.equal(asked.length, 1 + time);
      const nothing = { type: 'resumed', place, recovered: true, frames: [], isAll: true } as const;
      shard.handle({ type: 'resumed', key: ROOM, ask: asked.at(-1)!.ask, answer: nothing, size: 0 });
      shard.broadcast(8);
    }
    push(ROOM);
    assert.deepEqual(typesOf(peer), ['OK', 'PUSH']);
  });

  it('is asked for anew by who comes after all have left, also in the middle of one long turn', () => {
    const lacks = () => {
      const peer = open();
      join(peer, 'r');
      const { generation } = forms(ROOM).at(-1)!;
      shard.handle({ type: 'subscribed', key: ROOM, mask: Form.v1, generation });
      shard.frame({ key: ROOM, items: 1, frames: [], ages: [], place: { epoch: 'e', prev: 7, seq: 8 }, size: 100 });
      shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
      shard.broadcast(8);
      return peer;
    };
    const gone = lacks();
    const asked = toHub.filter((message) => message.type === 'resume');
    assert.equal(asked.length, 1);
    shard.closed(gone.connection, 1001);
    assert.equal(shard.rooms, 0);
    shard.handle({ type: 'resumed', key: ROOM, ask: asked[0]!.ask, answer: { type: 'unavailable' }, size: 0 });
    lacks();
    assert.equal(asks(), 2);
  });

  it('is told what was left out, where nobody knows from where on', () => {
    const peer = open();
    join(peer, 'r');
    shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
    loop.idle();
    assert.deepEqual([typesOf(peer), asks(), shard.counts.dropped.overload], [['LAGGED'], 0, 2]);
  });

  it('is told what was left out, where the room has lost its history just before', () => {
    const [peer, late] = [open(), open()];
    ask(peer, 1);
    answer({ type: 'resumed', place, recovered: true, frames: [], isAll: true });
    ask(late, 1);
    const asked = toHub.filter((message) => message.type === 'resume').at(-1);
    assert.ok(asked);
    // It reads nothing any more.
    const slow = open(Form.v1, undefined, 2);
    ask(slow, 1);
    answer({ type: 'resumed', place, recovered: true, frames: [], isAll: true });
    slow.socket.reading = false;
    for (let i = 0; i < 2; i++) send(slow, { type: 'PING', id: i });
    shard.handle({ type: 'resumed', key: ROOM, ask: asked.ask, answer: { type: 'none' }, size: 0 });
    shard.handle({ type: 'missed', key: ROOM, items: 2, reason: 'overload' });
    loop.idle();
    for (const member of [peer, late]) {
      assert.deepEqual(typesOf(member), ['OK', 'LAGGED']);
      assert.equal(member.socket.sent.at(-1)?.binary, false);
    }
    assert.equal(shard.counts.dropped.overload, 6);
    slow.socket.drain();
    shard.drained(slow.connection);
    loop.idle();
    assert.deepEqual(last(slow), { type: 'LAGGED', data: { room: 'r', dropped: 2, reason: 'slow' } });
  });

  it('brings compressed frames as binary', () => {
    const peer = open(Form.deflate);
    ask(peer, 1);
    const deflated = deflateRawSync(frame.text).toString('base64');
    answer({ type: 'resumed', place, recovered: true, frames: [{ seq: 5, items: 1, deflated }], isAll: true });
    const sent = peer.socket.sent.at(-1)!;
    assert.deepEqual([sent.binary, inflateRawSync(sent.bytes).toString()], [true, frame.text]);
  });
});
