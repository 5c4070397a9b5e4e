import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { PONG } from '@pushcluster/protocol/frames.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { pino } from 'pino';
import type { Identity } from '../admission/identity.ts';
import { InvalidToken } from '../admission/tokenVerifier.ts';
import { ALL, type ChannelKey, roomKey, userKey } from '../ipc/channelKey.ts';
import { missedSize, type ShardMessage } from '../ipc/messages.ts';
import { settingsWith } from '../simulation/hub.ts';
import { FakeLoop, FakeSocket } from '../simulation/shard.ts';
import type { Connection } from './connection.ts';
import { Shard } from './shard.ts';

const ANYONE: Identity = { expires: 0 };
const ROOM = roomKey('r');
const TIME = { withinMs: 8_000, overlapMs: 2_000 };

let loop: FakeLoop;
let shard: Shard;
let told: ShardMessage[];
let second: number;
/** What the verifier knows, by token. */
let identities: Map<string, Identity | Error>;

type Peer = { connection: Connection; socket: FakeSocket };

beforeEach(() => {
  start();
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

function start(settings: object = {}) {
  loop = new FakeLoop();
  told = [];
  second = 1;
  identities = new Map();
  shard = new Shard(settingsWith(settings), pino({ level: 'silent' }), (message) => told.push(message), loop);
  shard.verifier = {
    verifyNow: () => undefined,
    async verify(token) {
      const identity = identities.get(token) ?? new InvalidToken('token refused: unknown');
      if (identity instanceof Error) throw identity;
      return identity;
    },
    close() {},
  };
}

function open(form: Form = Form.v1, identity: Identity | undefined = ANYONE, capacity?: number): Peer {
  return opened(form, identity, capacity);
}

function stranger(form: Form = Form.v1): Peer {
  return opened(form, undefined);
}

function opened(form: Form, identity: Identity | undefined, capacity?: number): Peer {
  const socket = new FakeSocket(capacity);
  const connection = shard.open(socket, form, identity, undefined);
  // The engine calls back at once; a socket may be ended as soon as it is opened.
  socket.onEnd = (code) => shard.closed(connection, code);
  return { connection, socket };
}

function say({ connection }: Peer, frame: object | string) {
  const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
  shard.received(connection, text, Buffer.byteLength(text), second++);
}

/** JOIN and LEAVE, with an `id` where one is given. */
function join(peer: Peer, room: string, id?: number) {
  say(peer, { type: 'JOIN', ...(id === undefined ? {} : { id }), data: { room } });
}

function leave(peer: Peer, room: string, id?: number) {
  say(peer, { type: 'LEAVE', ...(id === undefined ? {} : { id }), data: { room } });
}

async function auth(peer: Peer, token: string, id?: number) {
  say(peer, { type: 'AUTH', ...(id === undefined ? {} : { id }), data: { token } });
  await new Promise(setImmediate);
}

function forms(key?: ChannelKey): Extract<ShardMessage, { type: 'forms' }>[] {
  const all = told.filter((message) => message.type === 'forms');
  return key === undefined ? all : all.filter((message) => message.key === key);
}

/** The hub's answer to the last word on a channel's forms. */
function confirm(key: ChannelKey) {
  const last = forms(key).at(-1);
  assert.ok(last);
  shard.handle({ type: 'subscribed', key, mask: last.mask, generation: last.generation });
  verify();
}

/** The hub's answer to the last question whether the bus is there. */
function verify() {
  loop.idle();
  const asked = told.filter((message) => message.type === 'verify').at(-1);
  if (asked) shard.handle({ type: 'verified', receipt: asked.receipt });
}

/** A frame of `items` items to a channel, whose text says where it goes. */
function push(key: ChannelKey, items = 1) {
  const bytes = Buffer.from(JSON.stringify({ type: 'PUSH', data: { key } }));
  const frames = [Form.plain, Form.v1, Form.deflate].map((form) => ({ form, binary: false, bytes }));
  shard.frame({ key, items, frames, ages: [], size: 100 });
  loop.idle();
}

const pushes = ({ socket }: Peer) =>
  socket.frames.filter(({ type }) => type === 'PUSH').map(({ data }) => String(data.key));
const last = ({ socket }: Peer) => socket.frames.at(-1);
const closing = ({ socket }: Peer) => socket.ended?.code;

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

  it('is answered PONG to PING', () => {
    const peer = open(Form.plain);
    say(peer, { type: 'PING', data: {} });
    assert.deepEqual(peer.socket.texts, [PONG]);
  });

  it('is answered by its id, as it was sent: PONG to PING, ERROR to what is unknown', () => {
    const peer = open();
    for (const id of ['7', '"x"', '9007199254740993', '1e400']) {
      say(peer, `{"type":"PING","id":${id}}`);
      say(peer, `{"type":"LEAVE","id":${id},"data":{"room":"r"}}`);
      say(peer, `{"type":"DANCE","id":${id}}`);
      const error = '{"code":"bad_frame","message":"type is none of PING, JOIN, LEAVE and AUTH"}';
      assert.deepEqual(peer.socket.texts.slice(-3), [
        `{"type":"PONG","id":${id},"data":{}}`,
        `{"type":"OK","id":${id},"data":{"room":"r"}}`,
        `{"type":"ERROR","id":${id},"data":${error}}`,
      ]);
    }
    say(peer, { type: 'DANCE' });
    assert.equal(peer.socket.texts.length, 12);
    assert.equal(shard.counts.ignored.unknown, 5);
  });

  it('is closed with 1008 for what is not JSON, and 1009 for a frame over the limit', () => {
    start({ gateway: { inbound: { maxFrame: 256 } } });
    const peers = [open(), open(), open()];
    say(peers[0]!, '{"type":');
    say(peers[1]!, { type: 'PING', data: { x: 'x'.repeat(300) } });
    say(peers[2]!, `{"type":"PING","x":"${'é'.repeat(110)}"}`);
    assert.deepEqual(peers.map(closing), [1008, 1009, undefined]);
    assert.equal(shard.counts.inboundFrames, 3);
  });

  it('is not answered, and counted, for frames that can be understood but not followed', () => {
    const peer = open();
    for (const frame of ['1', 'null', '[]', '"x"', '{}', '{"type":7}', '{"type":"SUBSCRIBE"}']) say(peer, frame);
    shard.received(peer.connection, undefined, 10, second++);
    say(peer, { type: 'JOIN', data: {} });
    say(peer, { type: 'AUTH', data: {} });
    assert.deepEqual(peer.socket.said, []);
    assert.equal(closing(peer), undefined);
    assert.deepEqual(shard.counts.ignored, { unknown: 7, binary: 1, bad_room: 1, bad_frame: 1 });
  });

  it('is told what is wrong with a frame that has an id', () => {
    const peer = open();
    for (const [id, room] of ['', 'x'.repeat(129), '\ud800', 5, 'é'.repeat(65)].entries())
      say(peer, { type: 'JOIN', id, data: { room } });
    say(peer, { type: 'AUTH', id: 'five', data: { token: 5 } });
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
    assert.deepEqual(told.at(-1), { type: 'left', ip: '10.0.0.1' });
  });

  it('is closed with a reason that fits a close frame, cut between characters', () => {
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    shard.handle({ type: 'disconnectUser', user: 'u', reason: `${'x'.repeat(122)}é and more` });
    loop.idle();
    assert.deepEqual(peer.socket.ended, { code: 4002, reason: 'x'.repeat(122) });
  });
});

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
    assert.deepEqual(last(peer)?.data, { code: 'unavailable', message: 'the token can not be checked now' });
    assert.deepEqual(peer.socket.ended, { code: 1013, reason: 'the token can not be checked now' });
  });

  it('that goes while its token is checked harms nothing', async () => {
    identities.set('good', ANYONE);
    const peer = stranger();
    say(peer, { type: 'AUTH', id: 1, data: { token: 'good' } });
    shard.closed(peer.connection, 1006);
    await new Promise(setImmediate);
    assert.deepEqual(peer.socket.said, []);
    assert.equal(shard.connections, 0);
    assert.deepEqual(forms(), []);
    mock.timers.tick(10_000);
    assert.equal(closing(peer), undefined);
  });
});

describe('JOIN and LEAVE', () => {
  it('bring a room’s items and end them, without an answer where there is no id', () => {
    const peer = open();
    join(peer, 'r');
    confirm(ROOM);
    push(ROOM);
    leave(peer, 'r');
    push(ROOM);
    assert.deepEqual(pushes(peer), [ROOM]);
    assert.equal(peer.socket.said.length, 1);
    assert.equal(shard.rooms, 0);
  });

  it('are answered OK: JOIN once the hub has opened the room, LEAVE at once, also of a room that it is not in', () => {
    const peer = open();
    join(peer, 'r', 1);
    assert.deepEqual(peer.socket.said, []);
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
    const asked = () => told.filter(({ type }) => type === 'verify').length;
    const before = asked();
    join(second, 'r', 2);
    join(third, 'r', 3);
    assert.equal(second.socket.said.length, 0);
    loop.idle();
    assert.equal(asked(), before + 1);
    join(first, 'r', 4);
    shard.handle({ type: 'verified', receipt: before + 1 });
    assert.equal(second.socket.said.length, 1);
    assert.equal(third.socket.said.length, 0, 'its form is yet to be opened');
    assert.equal(last(first)?.id, 1, 'that receipt was asked for before its JOIN');
    confirm(ROOM);
    assert.equal(third.socket.said.length, 1);
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
    assert.equal(silent.socket.said.length, 0);
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
    assert.equal(newcomer.socket.said.length, 0, 'the bus went away since');
    shard.handle({ type: 'bus', connected: true });
    assert.equal(newcomer.socket.said.length, 0);
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
    assert.deepEqual(peer.socket.said, [], 'the hub has yet to read that it is back');
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
    assert.equal(gone.socket.said.length, 0, 'nothing is said to a connection that is gone');
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
    assert.deepEqual(told.at(-1), { type: 'done', bytes: 50 });
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
    for (let now = 0; now < 10; now++, second++) {
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
    assert.deepEqual(last(peer)?.data, { code: 'unavailable', message: 'the token can not be checked now' });
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

  it('is refused where the gateway takes no tokens', async () => {
    shard.verifier = undefined;
    const peer = open();
    await auth(peer, 'x', 1);
    assert.deepEqual(last(peer)?.data, { code: 'unauthorized', message: 'this gateway takes no tokens' });
  });
});

describe('an answer that a full socket has no room for', () => {
  const full = (form: Form = Form.v1) => {
    const peer = open(form, ANYONE, 0);
    peer.socket.reading = false;
    return peer;
  };

  it('ends the connection with 4003 and is counted: nobody waits for it for ever', () => {
    const refused = full(Form.plain);
    const answered = full();
    join(refused, '', 1);
    leave(answered, 'a', 1);
    assert.deepEqual([refused, answered].map(closing), [undefined, undefined], 'not inside the engine’s handler');
    loop.idle();
    assert.deepEqual([refused, answered].map(closing), [4003, 4003]);
    assert.equal(shard.counts.answersDropped, 2);
    assert.equal(shard.counts.closed['4003'], 2);
  });

  it('ends one who would go on to believe that it is in a room', () => {
    const peer = full();
    join(peer, 'a');
    shard.handle({ type: 'disconnectRoom', room: 'a', reason: 'closed' });
    loop.idle();
    loop.idle();
    assert.equal(closing(peer), 4003);
  });

  it('is only counted where it is a PONG', () => {
    const peer = full();
    say(peer, { type: 'PING', data: {} });
    loop.idle();
    assert.equal(closing(peer), undefined);
    assert.equal(shard.counts.answersDropped, 1);
  });
});

describe('one connection per user', () => {
  beforeEach(() => start({ gateway: { connections: { onePerUser: true } } }));

  it('closes the older ones here with 4004 and tells the hub', () => {
    const first = open(Form.v1, { user: 'u', expires: 0 });
    const other = open(Form.v1, { user: 'v', expires: 0 });
    const second = open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.deepEqual([first, other, second].map(closing), [4004, undefined, undefined]);
    const words = told.filter((message) => message.type === 'session');
    assert.deepEqual(
      words.map(({ user }) => user),
      ['u', 'v', 'u'],
    );
  });

  it('closes those that are older than one opened elsewhere, and not one of which the hub had yet to hear', () => {
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    const { sessionNumber } = peer.connection;
    shard.handle({ type: 'replaced', user: 'u', upTo: sessionNumber - 1 });
    loop.idle();
    assert.equal(closing(peer), undefined);
    shard.handle({ type: 'replaced', user: 'u', upTo: sessionNumber });
    loop.idle();
    assert.equal(closing(peer), 4004);
  });

  it('closes those too that were opened before it was set', () => {
    start();
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    shard.handle({ type: 'replaced', user: 'u', upTo: 0 });
    loop.idle();
    assert.equal(closing(peer), 4004);
  });

  it('leaves one that was asked to move: the newer connection is its move', () => {
    const moving = open(Form.v1, { user: 'u', expires: 0 });
    shard.moving.ask(1, TIME, 'leave');
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.equal(closing(moving), undefined);
  });

  it('closes one that was asked to move, and did not, when its time is over', () => {
    const [moving, staying] = [open(Form.v1, { user: 'u', expires: 0 }), open(Form.v1, { user: 'v', expires: 0 })];
    shard.moving.askOldest(2, TIME, false);
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    mock.timers.tick(TIME.withinMs);
    assert.deepEqual([moving, staying].map(closing), [4004, undefined]);
  });

  it('closes nobody where it is not set', () => {
    start();
    const first = open(Form.v1, { user: 'u', expires: 0 });
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.equal(closing(first), undefined);
    assert.ok(told.every(({ type }) => type !== 'session'));
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
      'not JSON': (peer) => say(peer, '{'),
      'too large': (peer) => say(peer, 'x'.repeat(5_000)),
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
      const said = peer.socket.said.length;
      assert.equal(closing(peer), undefined, what);
      assert.equal(shard.connections, 1, 'it counts while its socket is open');
      push(ROOM);
      push(ALL);
      say(peer, { type: 'PING', id: 1, data: {} });
      assert.equal(peer.socket.said.length, said, 'nothing more goes to it');
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
    for (let i = 0; i < 10; i++) say(peer, { type: 'PING', data: {} });
    assert.equal(shard.backlog.bytes, 10);
    // The engine's own answers to pings of the protocol's.
    for (let i = 0; i < 5; i++) peer.socket.send('pong');
    shard.pinged(peer.connection);
    assert.equal(shard.backlog.bytes, 15);
  });

  it('is not closed again where it went by itself meanwhile', () => {
    start({ gateway: { slowConsumer: { policy: 'close' } } });
    const peer = open(Form.v1, ANYONE, 0);
    const bytes = Buffer.from('{}');
    shard.frame({ key: ALL, items: 1, frames: [{ form: Form.v1, binary: false, bytes }], ages: [], size: 1 });
    loop.turn();
    shard.closed(peer.connection, 1006);
    loop.idle();
    assert.equal(peer.socket.ended, undefined);
  });
});

describe('what the hub says', () => {
  it('of a channel that nobody is in any more is done with, and told with the next report', () => {
    push(roomKey('gone'));
    shard.handle({ type: 'missed', key: roomKey('gone'), items: 3, reason: 'bus_gap' });
    shard.handle({ type: 'subscribed', key: roomKey('gone'), mask: 1, generation: 1 });
    assert.deepEqual(told, []);
    shard.reportDone();
    shard.reportDone();
    assert.deepEqual(told, [{ type: 'done', bytes: 100 + missedSize(roomKey('gone')) }]);
  });

  it('is told as done at once where it is many bytes, so that the hub has room for more', () => {
    const frames = [{ form: Form.v1, binary: false, bytes: Buffer.alloc(0) }];
    for (const size of [65_000, 535, 1]) shard.frame({ key: roomKey('gone'), items: 1, frames, ages: [], size });
    assert.deepEqual(told, [{ type: 'done', bytes: 65_536 }]);
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

describe('evening out', () => {
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
    const asked = v1.filter(({ socket }) => socket.said.length > 0);
    assert.equal(asked.length, 1);
    assert.deepEqual(asked[0]!.socket.frames, [{ type: 'RECONNECT', data: TIME }]);
    assert.equal(shard.unasked, 1);
    shard.moving.ask(5, TIME, 'leave');
    assert.ok(
      v1.every(({ socket }) => socket.said.length === 1),
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

  it('moves another one to even out the load where a socket has no room for RECONNECT', () => {
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
