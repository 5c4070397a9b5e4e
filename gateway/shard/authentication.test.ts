import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import type { Identity } from '../admission/identity.ts';
import { ALL, roomKey, userKey } from '../ipc/channelKey.ts';
import {
  ANYONE,
  auth,
  closing,
  forms,
  identities,
  join,
  last,
  loop,
  open,
  push,
  pushes,
  reset,
  send,
  shard,
  stranger,
} from '../simulation/testShard.ts';

beforeEach(reset);

describe('a connection without a token', () => {
  it('gets nothing and may do nothing before its AUTH, and is like any other after', async () => {
    identities.set('good', { user: 'u', expires: 0 });
    const peer = stranger();
    push(ALL);
    join(peer, 'r', 1);
    assert.deepEqual(
      peer.socket.frames.map(({ type, data }) => [type, data.code]),
      [['ERROR', 'unauthorized']],
    );
    assert.deepEqual(forms(), []);
    await auth(peer, 'good', 2);
    assert.deepEqual(last(peer), { type: 'OK', id: 2, data: {} });
    push(ALL);
    push(userKey('u'));
    assert.deepEqual(pushes(peer), [ALL, userKey('u')]);
    mock.timers.tick(60_000);
    assert.equal(closing(peer), undefined);
  });

  it('is closed with 4401 after five seconds', () => {
    const peer = stranger();
    assert.equal(shard.connections, 1);
    mock.timers.tick(4_999);
    assert.equal(closing(peer), undefined);
    mock.timers.tick(1);
    assert.equal(closing(peer), 4401);
    assert.equal(shard.connections, 0);
  });

  it('is closed with 4401 at a bad one, after the ERROR', async () => {
    const peer = stranger();
    await auth(peer, 'bad', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'token refused: unknown' });
    assert.deepEqual(peer.socket.ended, { code: 4401, reason: 'token refused: unknown' });
  });

  it('is closed with 1013 where its token can’t be checked now: it is to come back', async () => {
    identities.set('unchecked', new Error('connect ECONNREFUSED 10.1.2.3'));
    const peer = stranger();
    await auth(peer, 'unchecked', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unavailable', message: 'the token cannot be checked at the moment' });
    assert.deepEqual(peer.socket.ended, { code: 1013, reason: 'the token cannot be checked at the moment' });
  });

  it('that goes while its token is checked harms nothing', async () => {
    identities.set('good', ANYONE);
    const peer = stranger();
    send(peer, { type: 'AUTH', id: 1, data: { token: 'good' } });
    shard.closed(peer.connection, 1006);
    await new Promise(setImmediate);
    assert.deepEqual(peer.socket.sent, []);
    assert.equal(shard.connections, 0);
    assert.deepEqual(forms(), []);
    mock.timers.tick(10_000);
    assert.equal(closing(peer), undefined);
  });
});

describe('AUTH on an open connection', () => {
  const user = (rooms?: string[], expires = 0): Identity => ({ user: 'u', rooms, expires });

  it('replaces what it may do: rooms that the new token lacks are left, which v1 is told', async () => {
    const [v1, plain] = [open(Form.v1, user()), open(Form.plain, user())];
    for (const peer of [v1, plain]) for (const room of ['a', 'b']) join(peer, room);
    identities.set('only-b', user(['b']));
    for (const peer of [v1, plain]) await auth(peer, 'only-b');
    const left = { type: 'LEAVE', data: { room: 'a', reason: 'the new token does not allow this room' } };
    assert.deepEqual(v1.socket.frames, [left]);
    assert.deepEqual(plain.socket.frames, []);
    push(roomKey('a'));
    push(roomKey('b'));
    push(userKey('u'));
    assert.deepEqual(pushes(v1), [roomKey('b'), userKey('u')]);
    join(v1, 'a', 1);
    assert.equal(last(v1)?.data.code, 'room_forbidden');
  });

  it('is refused for another user, and the connection stays as it was', async () => {
    const peer = open(Form.v1, user());
    join(peer, 'a');
    identities.set('other', { user: 'v', expires: 0 });
    await auth(peer, 'other', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'the token is for another user' });
    await auth(peer, 'bad', 2);
    assert.equal(last(peer)?.data.code, 'unauthorized');
    assert.equal(closing(peer), undefined);
    push(roomKey('a'));
    assert.deepEqual(pushes(peer), [roomKey('a')]);
  });

  it('puts off the end of the token, which otherwise closes with 4001', async () => {
    const [fresh, stale, forever] = [open(Form.v1, user([], 100)), open(Form.v1, user([], 100)), open()];
    identities.set('longer', user([], 200));
    await auth(fresh, 'longer');
    shard.expire(99);
    loop.idle();
    assert.deepEqual([fresh, stale, forever].map(closing), [undefined, undefined, undefined]);
    shard.expire(100);
    loop.idle();
    assert.deepEqual([fresh, stale, forever].map(closing), [undefined, 4001, undefined]);
    shard.expire(250);
    loop.idle();
    assert.deepEqual([fresh, forever].map(closing), [4001, undefined]);
  });

  it('closes soon with 4001 by a token whose end is past already, within the tolerance of clocks', () => {
    shard.expire(500);
    loop.idle();
    const peer = open(Form.v1, user([], 497));
    shard.expire(501);
    loop.idle();
    assert.equal(closing(peer), 4001);
  });

  it('that can’t be checked now is refused and changes nothing', async () => {
    const peer = open(Form.v1, user());
    identities.set('unchecked', new Error('connect ECONNREFUSED 10.1.2.3'));
    await auth(peer, 'unchecked', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unavailable', message: 'the token cannot be checked at the moment' });
    assert.equal(closing(peer), undefined);
  });

  it('of one who came without a token, where that is allowed, says who they are: once', async () => {
    const peer = open(Form.v1, { expires: 0, anonymous: true });
    for (const room of ['a', 'b']) join(peer, room);
    await auth(peer, 'bad', 1);
    assert.equal(last(peer)?.data.code, 'unauthorized');
    assert.equal(closing(peer), undefined);
    identities.set('u', user(['b'], 100)).set('v', { user: 'v', expires: 0 });
    await auth(peer, 'u', 2);
    assert.deepEqual(
      peer.socket.frames.slice(-2).map(({ type, data }) => [type, data.room]),
      [
        ['LEAVE', 'a'],
        ['OK', undefined],
      ],
    );
    for (const key of [ALL, roomKey('a'), roomKey('b'), userKey('u')]) push(key);
    assert.deepEqual(pushes(peer), [ALL, roomKey('b'), userKey('u')]);
    await auth(peer, 'v', 3);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'the token is for another user' });
    shard.expire(100);
    loop.idle();
    assert.equal(closing(peer), 4001);
    assert.equal(shard.connections, 0);
    assert.ok(forms(userKey('u')).at(-1)?.mask === 0, 'nothing of the user is left');
  });

  it('of one who came without a token may name nobody; one whose token named nobody names nobody later', async () => {
    const peer = open(Form.v1, { expires: 0, anonymous: true });
    identities.set('nobody', { expires: 0, rooms: ['b'] }).set('u', user());
    await auth(peer, 'nobody', 1);
    assert.equal(last(peer)?.type, 'OK');
    await auth(peer, 'u', 2);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'the token is for another user' });
  });

  it('whose check takes longer than the first AUTH may take is no missing token', async () => {
    const held = Promise.withResolvers<Identity>();
    shard.verifier = { verifyNow: () => undefined, verify: () => held.promise, close() {} };
    const [peer, silent] = [stranger(), stranger()];
    await auth(peer, 'x', 1);
    mock.timers.tick(5_000);
    assert.deepEqual([peer, silent].map(closing), [undefined, 4401]);
    held.reject(new Error('the keys can not be had'));
    await new Promise(setImmediate);
    assert.deepEqual([last(peer)?.data.code, closing(peer)], ['unavailable', 1013]);
  });

  it('has frames after it wait while it is checked, in their order: they are as allowed as after it', async () => {
    const held = Promise.withResolvers<Identity>();
    shard.verifier = { verifyNow: () => undefined, verify: () => held.promise, close() {} };
    const peer = stranger();
    await auth(peer, 'slow', 1);
    for (const [type, room, id] of [
      ['JOIN', 'a', 2],
      ['JOIN', 'b', 3],
      ['LEAVE', 'a', 4],
    ] as const)
      send(peer, { type, id, data: { room } });
    assert.equal(peer.socket.frames.length, 0);
    held.resolve({ user: 'u', rooms: undefined, expires: 0 });
    await new Promise(setImmediate);
    assert.ok(!peer.socket.frames.some(({ data }) => data.code === 'unauthorized'));
    assert.deepEqual(
      peer.connection.members.map(({ channel }) => channel.key).filter((key) => key !== userKey('u')),
      [roomKey('b')],
    );
  });

  it('is checked one at a time for each connection', async () => {
    const answers: ((identity: Identity) => void)[] = [];
    shard.verifier = {
      verifyNow: () => undefined,
      verify: () => new Promise((resolve) => answers.push(resolve)),
      close() {},
    };
    const peer = open(Form.v1, user());
    for (let id = 1; id <= 3; id++) await auth(peer, 'x', id);
    assert.equal(answers.length, 1);
    assert.deepEqual(
      peer.socket.frames.map(({ id, data }) => [id, data.code]),
      [
        [2, 'unavailable'],
        [3, 'unavailable'],
      ],
    );
    answers[0]?.(user());
    await new Promise(setImmediate);
    assert.deepEqual(last(peer), { type: 'OK', id: 1, data: {} });
    await auth(peer, 'x', 4);
    assert.equal(answers.length, 2);
  });

  it('is refused where the gateway accepts no tokens', async () => {
    shard.verifier = undefined;
    const peer = open();
    await auth(peer, 'x', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'this gateway does not accept tokens' });
  });
});
