import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL } from '../ipc/channelKey.ts';
import { ANYONE, closing, last, loop, open, push, reset, shard, stranger, TIME } from '../simulation/testShard.ts';

beforeEach(reset);

describe('rebalancing', () => {
  const asked = (peer: ReturnType<typeof open>) => peer.socket.frames.filter(({ type }) => type === 'RECONNECT').length;

  it('asks v1 clients that came first, each once, and leaves who can not move where they are', () => {
    const peers = [open(Form.v1), open(Form.plain), open(Form.deflate), open(Form.v1)];
    shard.moving.askOldest(2, TIME, false);
    assert.deepEqual(peers.map(asked), [1, 0, 1, 0]);
    assert.equal(shard.unasked, 2);
    shard.closed(peers[0]!.connection, 1000);
    mock.timers.tick(8_000);
    assert.deepEqual(peers.map(closing), [undefined, undefined, undefined, undefined]);
    assert.equal(shard.unasked, 3, 'one has gone, one stays');
    shard.moving.askOldest(5, TIME, false);
    assert.deepEqual(peers.map(asked), [1, 0, 1, 1]);
    assert.equal(shard.movable, 0);
    assert.deepEqual(shard.counts.moved, { leave: 0, drain: 0, rebalance: 3 });
  });

  it('closes others with 1012 only where told to', () => {
    const peer = open(Form.plain);
    shard.moving.askOldest(1, TIME, false);
    assert.equal(closing(peer), undefined);
    shard.handle({ type: 'mark', on: false });
    shard.moving.askOldest(1, TIME, true);
    assert.equal(closing(peer), 1012);
  });

  it('spares those who came after the mark, until it is taken back', () => {
    const before = open(Form.v1);
    shard.handle({ type: 'mark', on: true });
    const after = open(Form.v1);
    shard.moving.askOldest(5, TIME, false);
    assert.deepEqual([before, after].map(asked), [1, 0]);
    assert.equal(shard.movable, 0);
    shard.handle({ type: 'mark', on: false });
    assert.equal(shard.movable, 1);
    shard.moving.askOldest(5, TIME, false);
    assert.deepEqual([before, after].map(asked), [1, 1]);
  });

  it('does not hold up a drain: who was asked to go and stayed is asked again', () => {
    const peer = open(Form.v1);
    shard.moving.askOldest(1, TIME, false);
    mock.timers.tick(8_000);
    shard.moving.ask(1, TIME, 'leave');
    assert.equal(asked(peer), 2);
    mock.timers.tick(8_000);
    assert.equal(closing(peer), 1012);
  });
});

describe('leaving', () => {
  it('asks v1 to reconnect and closes them with 1012 in time, and others at once, as many as asked for', () => {
    const plain = [open(Form.plain), open(Form.plain)];
    const v1 = [open(Form.v1), open(Form.deflate)];
    shard.moving.ask(1, TIME, 'leave');
    assert.deepEqual([...plain, ...v1].map(closing), [1012, undefined, undefined, undefined]);
    assert.equal(shard.unasked, 3);
    shard.moving.ask(2, TIME, 'leave');
    assert.deepEqual(plain.map(closing), [1012, 1012]);
    const asked = v1.filter(({ socket }) => socket.sent.length > 0);
    assert.equal(asked.length, 1);
    assert.deepEqual(asked[0]!.socket.frames, [{ type: 'RECONNECT', data: TIME }]);
    assert.equal(shard.unasked, 1);
    shard.moving.ask(5, TIME, 'leave');
    assert.ok(
      v1.every(({ socket }) => socket.sent.length === 1),
      'nobody is asked twice',
    );
    assert.equal(shard.unasked, 0);
    shard.closed(asked[0]!.connection, 1000);
    mock.timers.tick(8_000);
    assert.deepEqual(v1.map(closing).sort(), [1012, undefined].sort());
    assert.equal(shard.connections, 0);
    assert.equal(shard.unasked, 0);
  });

  it('tells one that had no room for RECONNECT once it has, with the time that is left', () => {
    const peer = open(Form.v1, ANYONE, 1);
    peer.socket.reading = false;
    push(ALL);
    shard.moving.ask(1, TIME, 'leave');
    assert.equal(last(peer)?.type, 'PUSH');
    assert.equal(shard.counts.answersDropped, 1);
    loop.time += 3_000;
    peer.socket.drain();
    shard.drained(peer.connection);
    assert.deepEqual(last(peer), { type: 'RECONNECT', data: { withinMs: 5_000, overlapMs: 2_000 } });
    peer.socket.drain();
    shard.drained(peer.connection);
    assert.equal(peer.socket.frames.filter(({ type }) => type === 'RECONNECT').length, 1);
    mock.timers.tick(8_000);
    assert.equal(closing(peer), 1012);
  });

  it('closes one that never had room for RECONNECT in time all the same', () => {
    const peer = open(Form.v1, ANYONE, 1);
    peer.socket.reading = false;
    push(ALL);
    shard.moving.ask(1, TIME, 'leave');
    mock.timers.tick(8_000);
    mock.timers.tick(5_000);
    assert.equal(closing(peer), 1006);
    assert.deepEqual(shard.counts.closed, { '1012': 1 });
  });

  it('moves another one to rebalance if a socket has no room for RECONNECT', () => {
    const [full, other] = [open(Form.v1, ANYONE, 1), open()];
    full.socket.reading = false;
    push(ALL);
    shard.moving.askOldest(1, TIME, false);
    assert.equal(last(other)?.type, 'RECONNECT');
    assert.equal(full.connection.moving, false);
    assert.equal(shard.counts.moved.rebalance, 1);
    shard.moving.askOldest(1, TIME, false);
    assert.equal(shard.unasked, 1);
  });

  it('keeps nothing of those that are gone', () => {
    const timers = process.getActiveResourcesInfo().length;
    mock.timers.reset();
    for (let i = 0; i < 100; i++) {
      const gone = [stranger(), open(), open()];
      shard.moving.ask(3, TIME, 'leave');
      const moved = open();
      shard.moving.askOldest(1, TIME, false);
      for (const { connection } of [...gone, moved]) if (!connection.closed) shard.closed(connection, 1001);
    }
    assert.equal(process.getActiveResourcesInfo().length, timers);
    mock.timers.enable({ apis: ['setTimeout'] });
  });

  it('makes those go too that have yet to send their token', () => {
    const peers = [stranger(), stranger(Form.plain)];
    assert.equal(shard.unasked, 2);
    shard.moving.ask(2, TIME, 'leave');
    assert.deepEqual(peers.map(closing), [1012, 1012]);
    assert.equal(shard.unasked, 0);
  });

  it('closes whoever is left with 1012 at the last moment', () => {
    const peers = [open(Form.plain), open(Form.v1), stranger()];
    shard.moving.ask(1, TIME, 'leave');
    void shard.endAll();
    loop.idle();
    assert.deepEqual(peers.map(closing), [1012, 1012, 1012]);
    assert.equal(shard.connections, 0);
  });
});
