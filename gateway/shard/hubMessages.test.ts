import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { roomKey, userKey } from '../ipc/channelKey.ts';
import { missedSize } from '../ipc/messages.ts';
import {
  closing,
  forms,
  join,
  last,
  leave,
  loop,
  open,
  type Peer,
  push,
  pushes,
  ROOM,
  reset,
  shard,
  toHub,
} from '../simulation/testShard.ts';

beforeEach(reset);

describe('a disconnect', () => {
  it('of a user closes all of their connections with 4002 and the reason', () => {
    const peers = [open(Form.v1, { user: 'u', expires: 0 }), open(Form.plain, { user: 'u', expires: 0 }), open()];
    shard.handle({ type: 'disconnectUser', user: 'u', reason: 'banned' });
    loop.idle();
    shard.handle({ type: 'disconnectUser', user: 'nobody', reason: 'banned' });
    loop.idle();
    assert.deepEqual(peers.map(closing), [4002, 4002, undefined]);
    assert.equal(peers[0]!.socket.ended?.reason, 'banned');
    assert.equal(forms(userKey('u')).at(-1)?.mask, 0);
  });

  it('of a room takes everyone out of it; connections stay, and v1 is told', () => {
    const peers = [open(Form.v1), open(Form.plain), open(Form.deflate)];
    for (const peer of peers) for (const room of ['r', 's']) join(peer, room);
    shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' });
    loop.idle();
    shard.handle({ type: 'disconnectRoom', room: 'nowhere', reason: 'over' });
    loop.idle();
    const left = [{ type: 'LEAVE', data: { room: 'r', reason: 'over' } }];
    assert.deepEqual(
      peers.map(({ socket }) => socket.frames),
      [left, [], left],
    );
    assert.equal(forms(ROOM).at(-1)?.mask, 0);
    push(ROOM);
    push(roomKey('s'));
    for (const peer of peers) assert.deepEqual(pushes(peer), [roomKey('s')]);
  });
});

describe('what is done to many at once', () => {
  const MANY = 2_000;
  /** Milliseconds that a slice may take: the broadcaster's, and what 64 members take between two looks at the clock. */
  const SLICE = 8 + 64 * 0.05;
  let crowd: Peer[];
  let longest: number;

  beforeEach(() => {
    crowd = Array.from({ length: MANY }, () => {
      const peer = open(Form.v1, { user: 'u', expires: 100 });
      join(peer, 'r');
      peer.socket.onSend = () => {
        loop.time += 0.05;
      };
      const { onEnd } = peer.socket;
      peer.socket.onEnd = (code) => {
        loop.time += 0.05;
        onEnd(code);
      };
      return peer;
    });
    longest = 0;
  });

  /** One turn of the loop, and how long it took. */
  function turn(): boolean {
    const began = loop.time;
    const more = loop.turn();
    longest = Math.max(longest, loop.time - began);
    return more;
  }

  const acts: Record<string, { act: () => unknown; done: (peer: Peer) => boolean }> = {
    'a disconnected room': {
      act: () => shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' }),
      done: (peer) => last(peer)?.type === 'LEAVE' && peer.connection.members.length === 1,
    },
    'a disconnected user': {
      act: () => shard.handle({ type: 'disconnectUser', user: 'u', reason: 'gone' }),
      done: (peer) => closing(peer) === 4002,
    },
    'a newer connection elsewhere': {
      act: () => shard.handle({ type: 'replaced', user: 'u', upTo: Number.MAX_SAFE_INTEGER }),
      done: (peer) => closing(peer) === 4004,
    },
    'tokens of one second': { act: () => shard.expire(100), done: (peer) => closing(peer) === 4001 },
    'the end': { act: () => shard.endAll(), done: (peer) => closing(peer) === 1012 },
  };
  for (const [what, { act, done }] of Object.entries(acts))
    it(`takes the loop for a slice at a time, and is done to all who were there: ${what}`, () => {
      const before = loop.time;
      act();
      assert.equal(loop.time, before, 'nothing at once');
      while (turn());
      assert.ok(crowd.every(done));
      assert.ok(longest <= SLICE + 0.001, `${longest} ms`);
      assert.ok(loop.time - before > MANY * 0.05 - 1);
    });

  it('leaves those in the room who come after it was said, and who left and came back', () => {
    shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' });
    const late = open();
    join(late, 'r');
    const back = crowd[MANY - 1]!;
    leave(back, 'r');
    join(back, 'r');
    while (turn());
    assert.equal(last(late), undefined);
    assert.equal(last(back)?.type, undefined);
    push(ROOM);
    assert.deepEqual(pushes(late), [ROOM]);
    assert.deepEqual(pushes(back), [ROOM]);
    assert.equal(crowd.filter((peer) => pushes(peer).length > 0).length, 1);
  });

  it('keeps the order of frames: those of before come, those of after do not, whoever has had his turn', () => {
    const frame = (key: string) => {
      const bytes = Buffer.from(JSON.stringify({ type: 'PUSH', data: { key } }));
      shard.frame({ key: ROOM, items: 1, frames: [{ form: Form.v1, binary: false, bytes }], ages: [], size: 1 });
    };
    frame('before');
    turn();
    shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' });
    frame('after');
    while (turn());
    for (const peer of crowd) {
      assert.deepEqual(pushes(peer), ['before']);
      assert.equal(last(peer)?.type, 'LEAVE');
    }
    assert.equal(forms(ROOM).at(-1)?.mask, 0);
    assert.equal(shard.rooms, 0);
  });

  it('bears those who go by themselves meanwhile', () => {
    shard.handle({ type: 'disconnectRoom', room: 'r', reason: 'over' });
    shard.handle({ type: 'disconnectUser', user: 'u', reason: 'gone' });
    turn();
    for (const [i, { connection }] of crowd.entries())
      if (i % 3 === 0 && !connection.closed) shard.closed(connection, 1001);
    while (turn());
    assert.equal(shard.connections, 0);
    assert.equal(shard.rooms, 0);
  });
});

describe('what the hub says', () => {
  it('of a channel that nobody is in any more is done with, and told with the next report', () => {
    push(roomKey('gone'));
    shard.handle({ type: 'missed', key: roomKey('gone'), items: 3, reason: 'bus_gap' });
    shard.handle({ type: 'subscribed', key: roomKey('gone'), mask: 1, generation: 1 });
    assert.deepEqual(toHub, []);
    shard.reportDone();
    shard.reportDone();
    assert.deepEqual(toHub, [{ type: 'done', bytes: 100 + missedSize(roomKey('gone')) }]);
  });

  it('is told as done at once where it is many bytes, so that the hub has room for more', () => {
    const frames = [{ form: Form.v1, binary: false, bytes: Buffer.alloc(0) }];
    for (const size of [65_000, 535, 1]) shard.frame({ key: roomKey('gone'), items: 1, frames, ages: [], size });
    assert.deepEqual(toHub, [{ type: 'done', bytes: 65_536 }]);
  });

  it('of missed items reaches v1 members, in order with the frames, and is counted for everyone', () => {
    const peers = [open(Form.plain), open(Form.v1), open(Form.deflate)];
    for (const peer of peers) join(peer, 'r');
    push(ROOM);
    shard.handle({ type: 'missed', key: ROOM, items: 4, reason: 'overload' });
    push(ROOM);
    const lagged = { type: 'LAGGED', data: { room: 'r', dropped: 4, reason: 'overload' } };
    assert.deepEqual(
      peers.map(({ socket }) => socket.frames.map(({ type }) => type)),
      [
        ['PUSH', 'PUSH'],
        ['PUSH', 'LAGGED', 'PUSH'],
        ['PUSH', 'LAGGED', 'PUSH'],
      ],
    );
    assert.deepEqual(peers[1]!.socket.frames[1], lagged);
    assert.deepEqual(shard.counts.dropped, { slow: 0, overload: 12, bus_gap: 0 });
    assert.equal(shard.counts.messagesDelivered, 6);
  });

  it('is answered where it is a question', () => {
    for (const [room, size] of [
      ['a', 1],
      ['b', 3],
      ['c', 3],
      ['d', 2],
    ] as const)
      for (let i = 0; i < size; i++) join(open(Form.v1, { user: 'u', expires: 0 }), room);
    const base = { reply: 'x', ask: '1' };
    assert.deepEqual(shard.answer({ type: 'rooms', ...base, limit: 3 }), {
      type: 'rooms',
      ask: '1',
      rooms: [
        { room: 'b', connections: 3 },
        { room: 'c', connections: 3 },
        { room: 'd', connections: 2 },
      ],
    });
    assert.deepEqual(shard.answer({ type: 'room', ...base, room: 'd' }), { type: 'room', ask: '1', connections: 2 });
    assert.deepEqual(shard.answer({ type: 'room', ...base, room: 'z' }), { type: 'room', ask: '1', connections: 0 });
    assert.deepEqual(shard.answer({ type: 'user', ...base, user: 'u' }), { type: 'user', ask: '1', connections: 9 });
    assert.equal(shard.answer({ type: 'stats', ...base }), undefined);
  });
});
