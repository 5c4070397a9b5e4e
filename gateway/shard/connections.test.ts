import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { PONG } from '@pushcluster/protocol/frames.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { FakeSocket } from '../simulation/shard.ts';
import {
  ANYONE,
  closing,
  forms,
  join,
  loop,
  nextSecond,
  open,
  type Peer,
  push,
  pushes,
  ROOM,
  reset,
  send,
  shard,
  start,
  toHub,
} from '../simulation/testShard.ts';

beforeEach(reset);

describe('a connection', () => {
  it('gets what goes to all from its opening on, and nothing more once it is closed', () => {
    const peer = open();
    assert.deepEqual(forms(ALL), [{ type: 'forms', key: ALL, mask: Form.v1, generation: forms(ALL)[0]?.generation }]);
    push(ALL);
    assert.deepEqual(pushes(peer), [ALL]);
    assert.equal(shard.connections, 1);
    shard.closed(peer.connection, 1000);
    assert.equal(forms(ALL).at(-1)?.mask, 0);
    push(ALL);
    assert.deepEqual(pushes(peer), [ALL]);
    assert.equal(shard.connections, 0);
    assert.deepEqual(shard.counts.closed, { '1000': 1 });
  });

  it('is counted for the hub: how many members a room has is told when it is many, and when it is few again', () => {
    const told = () => toHub.filter((message) => message.type === 'audience' && message.key === roomKey('r'));
    const peers = Array.from({ length: 20 }, () => open());
    for (const peer of peers) send(peer, { type: 'JOIN', data: { room: 'r' } });
    assert.deepEqual(
      told().map((message) => message.type === 'audience' && message.members),
      [8, 16],
    );
    for (const peer of peers) shard.closed(peer.connection, 1000);
    assert.deepEqual(
      told()
        .map((message) => message.type === 'audience' && message.members)
        .slice(2),
      [0],
    );
  });

  it('is answered PONG to PING', () => {
    const peer = open(Form.plain);
    send(peer, { type: 'PING', data: {} });
    assert.deepEqual(peer.socket.texts, [PONG]);
  });

  it('is answered by its id, as it was sent: PONG to PING, ERROR to what is unknown', () => {
    const peer = open();
    for (const id of ['7', '"x"', '9007199254740993', '1e400']) {
      send(peer, `{"type":"PING","id":${id}}`);
      send(peer, `{"type":"LEAVE","id":${id},"data":{"room":"r"}}`);
      send(peer, `{"type":"DANCE","id":${id}}`);
      const error = '{"code":"bad_frame","message":"type must be PING, JOIN, LEAVE or AUTH"}';
      assert.deepEqual(peer.socket.texts.slice(-3), [
        `{"type":"PONG","id":${id},"data":{}}`,
        `{"type":"OK","id":${id},"data":{"room":"r"}}`,
        `{"type":"ERROR","id":${id},"data":${error}}`,
      ]);
    }
    send(peer, { type: 'DANCE' });
    assert.equal(peer.socket.texts.length, 12);
    assert.equal(shard.counts.ignored.unknown, 5);
  });

  it('is closed with 1008 for what is not JSON, and 1009 for a frame over the limit', () => {
    start({ gateway: { inbound: { maxFrame: 256 } } });
    const peers = [open(), open(), open()];
    send(peers[0]!, '{"type":');
    send(peers[1]!, { type: 'PING', data: { x: 'x'.repeat(300) } });
    send(peers[2]!, `{"type":"PING","x":"${'é'.repeat(110)}"}`);
    assert.deepEqual(peers.map(closing), [1008, 1009, undefined]);
    assert.equal(shard.counts.inboundFrames, 3);
  });

  it('is not answered, and counted, for frames that can be understood but not followed', () => {
    const peer = open();
    for (const frame of ['1', 'null', '[]', '"x"', '{}', '{"type":7}', '{"type":"SUBSCRIBE"}']) send(peer, frame);
    shard.received(peer.connection, undefined, 10, nextSecond());
    send(peer, { type: 'JOIN', data: {} });
    send(peer, { type: 'AUTH', data: {} });
    assert.deepEqual(peer.socket.sent, []);
    assert.equal(closing(peer), undefined);
    assert.deepEqual(shard.counts.ignored, { unknown: 7, binary: 1, bad_room: 1, bad_frame: 1 });
  });

  it('is told what is wrong with a frame that has an id', () => {
    const peer = open();
    for (const [id, room] of ['', 'x'.repeat(129), '\ud800', 5, 'é'.repeat(65)].entries())
      send(peer, { type: 'JOIN', id, data: { room } });
    send(peer, { type: 'AUTH', id: 'five', data: { token: 5 } });
    assert.deepEqual(
      peer.socket.frames.map(({ type, id, data }) => [type, id, data.code]),
      [0, 1, 2, 3, 4].map((id) => ['ERROR', id, 'bad_room'] as unknown[]).concat([['ERROR', 'five', 'bad_frame']]),
    );
  });

  it('may say so many frames a second with a burst of twice that, and is closed with 1008 beyond', () => {
    start({ gateway: { inbound: { frameRate: 5 } } });
    const peer = open(Form.plain);
    const ping = (times: number, at: number) => {
      for (let i = 0; i < times; i++)
        if (!peer.connection.closed) shard.received(peer.connection, '{"type":"PING"}', 15, at);
    };
    ping(10, 1);
    ping(5, 2);
    ping(5, 3);
    assert.equal(closing(peer), undefined);
    ping(1, 3);
    assert.equal(closing(peer), 1008);
    const other = open(Form.plain);
    for (let at = 1; at < 50; at += 10) for (let i = 0; i < 10; i++) shard.received(other.connection, '{}', 2, at);
    assert.equal(closing(other), undefined);
  });

  it('is counted by close codes that are known; others share a label', () => {
    for (const code of [1000, 1001, 1006, 1008, 4002, 3999, 4999, 1015]) shard.closed(open().connection, code);
    assert.deepEqual(shard.counts.closed, { '1000': 1, '1001': 1, '1006': 1, '1008': 1, '4002': 1, other: 3 });
    assert.equal(shard.counts.opened, 8);
  });

  it('that the hub counted for its address is reported when it goes', () => {
    const connection = shard.open(new FakeSocket(), Form.v1, ANYONE, '10.0.0.1');
    shard.closed(connection, 1000);
    assert.deepEqual(toHub.at(-1), { type: 'left', ip: '10.0.0.1' });
  });

  it('is closed with a reason that fits a close frame, cut between characters', () => {
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    shard.handle({ type: 'disconnectUser', user: 'u', reason: `${'x'.repeat(122)}é and more` });
    loop.idle();
    assert.deepEqual(peer.socket.ended, { code: 4002, reason: 'x'.repeat(122) });
  });
});

describe('a slow reader', () => {
  it('is closed with 4003, outside of the broadcast, where so set', () => {
    start({ gateway: { slowConsumer: { policy: 'close' } } });
    const peer = open(Form.v1, ANYONE, 1);
    peer.socket.reading = false;
    for (let i = 0; i < 3; i++) push(ALL);
    assert.equal(closing(peer), undefined, 'the code waits behind what it has yet to read');
    peer.socket.drain();
    shard.drained(peer.connection);
    assert.equal(closing(peer), 4003);
    assert.equal(shard.connections, 0);
  });

  it('is cut where it does not even read what waits before its close code, whatever it is closed for', () => {
    const ways: Record<string, (peer: Peer) => void> = {
      'not JSON': (peer) => send(peer, '{'),
      'too large': (peer) => send(peer, 'x'.repeat(5_000)),
      'a user disconnected': () => shard.handle({ type: 'disconnectUser', user: 'u', reason: 'gone' }),
      'asked to move, too late': () => {
        shard.moving.ask(1, { withinMs: 1_000, overlapMs: 500 }, 'leave');
        mock.timers.tick(1_000);
      },
      'an expired token': () => shard.expire(2_000),
    };
    for (const [what, close] of Object.entries(ways)) {
      start();
      const peer = open(Form.v1, { user: 'u', expires: 1_000 }, 3);
      join(peer, 'r');
      peer.socket.reading = false;
      push(ROOM);
      push(ROOM);
      assert.equal(shard.backlog.bytes, 2);
      close(peer);
      loop.idle();
      const said = peer.socket.sent.length;
      assert.equal(closing(peer), undefined, what);
      assert.equal(shard.connections, 1, 'it counts while its socket is open');
      push(ROOM);
      push(ALL);
      send(peer, { type: 'PING', id: 1, data: {} });
      assert.equal(peer.socket.sent.length, said, 'nothing more goes to it');
      mock.timers.tick(4_999);
      assert.equal(closing(peer), undefined, what);
      mock.timers.tick(1);
      assert.equal(closing(peer), 1006, what);
      assert.deepEqual([shard.connections, shard.backlog.bytes, shard.unasked], [0, 0, 0], what);
      assert.equal(
        Object.values(shard.counts.closed).reduce((sum, count) => sum + count, 0),
        1,
      );
      assert.equal(shard.counts.closed['1006'], undefined, 'it counts by what it was closed for');
    }
  });

  it('is closed first where more waits for all than may: the others notice nothing', () => {
    start();
    shard.backlogBudget = 100;
    const stopped = Array.from({ length: 20 }, () => open(Form.v1, ANYONE, 10));
    const fast = open();
    for (const { socket } of stopped) socket.reading = false;
    for (let i = 0; i < 10; i++) {
      push(ALL);
      loop.time += 1_000;
      assert.ok(shard.backlog.bytes <= 100);
    }
    const cut = stopped.filter(({ socket }) => socket.ended);
    assert.ok(cut.length >= 10 && cut.length < 20, `${cut.length} were cut`);
    assert.equal(shard.counts.backlogCut, cut.length);
    assert.equal(shard.counts.closed['4003'], cut.length);
    assert.equal(pushes(fast).length, 10);
  });

  it('that only asks, and reads no answer, is counted too', () => {
    start();
    const peer = open(Form.v1, ANYONE, 100);
    peer.socket.reading = false;
    for (let i = 0; i < 10; i++) send(peer, { type: 'PING', data: {} });
    assert.equal(shard.backlog.bytes, 10);
    // The engine's own answers to pings of the protocol's.
    for (let i = 0; i < 5; i++) peer.socket.send('pong');
    shard.pinged(peer.connection, 1);
    assert.equal(shard.backlog.bytes, 15);
  });

  it('that pings faster than it may send frames is closed', () => {
    start({ gateway: { inbound: { frameRate: 5 } } });
    const peer = open(Form.v1);
    for (let i = 0; i < 10; i++) shard.pinged(peer.connection, 1);
    assert.equal(peer.connection.gone, false, 'a burst of twice the rate is allowed');
    shard.pinged(peer.connection, 1);
    loop.idle();
    assert.equal(peer.socket.ended?.code, 1008);
  });

  it('is not closed again where it went by itself meanwhile', () => {
    start({ gateway: { slowConsumer: { policy: 'close' } } });
    const peer = open(Form.v1, ANYONE, 0);
    const bytes = Buffer.from('{}');
    shard.frame({ key: ALL, items: 1, frames: [{ form: Form.v1, binary: false, bytes }], ages: [], size: 1 });
    shard.closed(peer.connection, 1006);
    loop.idle();
    assert.equal(peer.socket.ended, undefined);
  });
});
