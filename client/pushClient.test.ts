import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PushOptions } from './options.ts';
import { PushClient } from './pushClient.ts';
import { PushError } from './pushError.ts';
import { jwt, pushFrame, SimulatedClock, SimulatedNetwork, turn } from './simulation.ts';
import type { Gap, Lagged, Stream } from './stream.ts';

function connected(options: PushOptions = {}) {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', {
    WebSocket: network.WebSocket,
    clock,
    random: () => 0.5,
    ...options,
  });
  return { push, network, clock };
}

/** What arrives from now on. */
function collect<Item>(stream: Stream<Item>): Item[] {
  const items: Item[] = [];
  stream.on('item', (item) => items.push(item));
  return items;
}

test('items of a room come by callback and by for await, in order', async () => {
  const { push, network } = connected();
  const room = push.join<{ n: number }>('r');
  network.last.accept();
  assert.deepEqual(network.last.sent, [{ type: 'JOIN', id: 1, data: { room: 'r' } }]);
  network.last.ok();
  await room.joined;
  const called = collect(room);
  const iterated: number[] = [];
  const done = (async () => {
    for await (const { n } of room) {
      iterated.push(n);
      if (n === 4) break;
    }
  })();
  network.last.say(pushFrame('r', 'a', 1, 2));
  network.last.say(pushFrame('other', 'a', 1, 9));
  network.last.say(pushFrame('r', 'a', 3, 4));
  await done;
  assert.deepEqual(iterated, [1, 2, 3, 4]);
  assert.deepEqual(
    called.map(({ n }) => n),
    [1, 2, 3, 4],
  );
  push.close();
});

test('what is pushed to all and to the user comes by streams of their own, whose counters do not mix', () => {
  const { push, network } = connected();
  network.last.accept();
  const all = collect(push.all);
  const user = collect(push.user);
  network.last.say(pushFrame(undefined, 'a', 8, 9));
  network.last.say(pushFrame(undefined, 'a', 3, 3, { user: true }));
  network.last.say(pushFrame(undefined, 'a', 10, 10));
  network.last.say(pushFrame(undefined, 'a', 3, 3, { user: true }));
  assert.deepEqual(
    all.map((item) => (item as { n: number }).n),
    [8, 9, 10],
  );
  assert.equal(user.length, 1);
  push.close();
});

test('counters that were skipped tell a gap in a room, and none in the user stream', () => {
  const { push, network } = connected();
  push.join('r');
  network.last.accept();
  const gaps: Gap[] = [];
  push.on('gap', (gap) => gaps.push(gap));
  network.last.say(pushFrame('r', 'a', 1, 2));
  network.last.say(pushFrame('r', 'a', 6, 6));
  network.last.say(pushFrame(undefined, 'a', 1, 1, { user: true }));
  network.last.say(pushFrame(undefined, 'a', 9, 9, { user: true }));
  assert.deepEqual(gaps, [{ room: 'r', publisher: 'a', missed: 3 }]);
  push.close();
});

test('frames without ids are delivered as they are', () => {
  const { push, network } = connected({ protocols: [] });
  const room = push.join('r');
  network.last.accept();
  assert.deepEqual(network.last.protocols, []);
  const items = collect(room);
  network.last.say({ type: 'PUSH', data: { room: 'r', items: [null, 'text', 7] } });
  network.last.say({ type: 'PUSH', data: { room: 'r', items: ['text'] } });
  assert.deepEqual(items, [null, 'text', 7, 'text']);
  push.close();
});

test('frames that a newer gateway may send are ignored', () => {
  const { push, network } = connected();
  const room = push.join('r');
  network.last.accept();
  const items = collect(room);
  for (const odd of [
    '[]',
    '7',
    'null',
    '{"type":"NEWS","data":{}}',
    '{"type":"PUSH"}',
    '{"type":"PUSH","data":{"room":"r"}}',
  ])
    network.last.say(odd);
  network.last.say({ ...pushFrame('r', 'a', 1, 1), extra: true });
  assert.equal(items.length, 1);
  assert.equal(push.state, 'open');
  push.close();
});

test('a room that is joined twice is the same room, joined once', () => {
  const { push, network } = connected();
  network.last.accept();
  assert.equal(push.join('r'), push.join('r'));
  assert.equal(network.last.sent.length, 1);
  push.close();
});

test('leaving ends the iteration, tells the gateway, and the room is not joined again', async () => {
  const { push, network, clock } = connected();
  const room = push.join('r');
  network.last.accept();
  network.last.ok();
  const ended = (async () => {
    for await (const _ of room);
    return 'ended';
  })();
  room.leave();
  assert.equal(await ended, 'ended');
  assert.deepEqual(network.last.sent, [{ type: 'LEAVE', id: 2, data: { room: 'r' } }]);
  network.last.end(1006);
  await clock.advance(1_000);
  network.last.accept();
  assert.deepEqual(network.last.sent, []);
  push.close();
});

test('who leaves in the middle of a frame gets nothing more of it', () => {
  const { push, network } = connected();
  const room = push.join<{ n: number }>('r');
  const items = collect(room);
  room.on('item', ({ n }) => n === 2 && room.leave());
  network.last.accept();
  network.last.say(pushFrame('r', 'a', 1, 5));
  assert.equal(items.length, 2);
  push.close();
});

test('a refused join rejects, is told by an event, and is not repeated', async () => {
  const { push, network, clock } = connected();
  const errors: PushError[] = [];
  push.on('error', (error) => errors.push(error));
  const room = push.join('secret');
  const iteration = room[Symbol.asyncIterator]().next();
  network.last.accept();
  network.last.say({ type: 'ERROR', id: 1, data: { code: 'room_forbidden', message: 'not for you' } });
  await assert.rejects(room.joined, { name: 'PushError', code: 'room_forbidden', message: 'not for you' });
  await assert.rejects(iteration, { code: 'room_forbidden' });
  assert.equal(errors.length, 1);
  network.last.end(1006);
  await clock.advance(1_000);
  network.last.accept();
  assert.deepEqual(network.last.sent, []);
  push.close();
});

test('a room that was refused because the connection has no token waits for the next connection', async () => {
  const tokens = [null, jwt({ sub: 'u' })];
  const { push, network, clock } = connected({ token: () => tokens.shift() });
  const errors: string[] = [];
  push.on('error', ({ code }) => errors.push(code));
  const [room, left] = [push.join('r'), push.join('s')];
  const items = collect(room);
  await turn();
  const [first] = network.sockets;
  first!.accept();
  for (const id of [1, 2])
    first!.say({ type: 'ERROR', id, data: { code: 'unauthorized', message: 'AUTH is required first' } });
  assert.deepEqual(errors, ['unauthorized', 'unauthorized']);
  first!.sent.length = 0;
  assert.equal(push.join('r'), room);
  left.leave();
  await clock.advance(5_000);
  assert.deepEqual(
    first!.sent.map(({ type }) => type),
    ['LEAVE'],
    'the same connection is not asked again',
  );
  first!.end(4401, 'no token within 5 s');
  await clock.advance(1_000);
  assert.notEqual(network.last, first);
  network.last.accept();
  assert.deepEqual(
    network.last.sent.map(({ data }) => data),
    [{ room: 'r' }],
  );
  network.last.ok();
  await room.joined;
  network.last.say(pushFrame('r', 'a', 1, 2));
  assert.equal(items.length, 2);
  push.close();
});

test('a room that was refused for want of a token ends where no token will come', async () => {
  const { push, network } = connected();
  const room = push.join('r');
  const next = room[Symbol.asyncIterator]().next();
  network.last.accept();
  network.last.say({ type: 'ERROR', id: 1, data: { code: 'unauthorized', message: 'AUTH is required first' } });
  network.last.end(4401, 'no token within 5 s');
  for (const end of [room.joined, next]) await assert.rejects(end, { code: 'closed' });
  assert.equal(push.state, 'closed');
});

test('a join that can not be served just now is repeated until it can', async () => {
  const { push, network, clock } = connected();
  const room = push.join('r');
  network.last.accept();
  network.last.say({ type: 'ERROR', id: 1, data: { code: 'unavailable', message: 'no bus' } });
  network.last.sent.length = 0;
  await clock.advance(500);
  network.last.ok();
  await room.joined;
  push.close();
});

test('leaving before the answer rejects joined, and the answer to an earlier JOIN does not count for the next', async () => {
  const { push, network } = connected();
  network.last.accept();
  const first = push.join('r');
  first.leave();
  await assert.rejects(first.joined, { code: 'left' });
  const second = push.join('r');
  assert.notEqual(first, second);
  network.last.say({ type: 'ERROR', id: 1, data: { code: 'room_limit', message: 'late' } });
  network.last.say({ type: 'OK', id: 2, data: { room: 'r' } });
  network.last.say({ type: 'OK', id: 3, data: { room: 'r' } });
  await second.joined;
  push.close();
});

test('a room that the API takes away ends quietly, with an event', async () => {
  const { push, network } = connected();
  const left: object[] = [];
  push.on('left', (event) => left.push(event));
  const room = push.join('r');
  network.last.accept();
  network.last.ok();
  const next = room[Symbol.asyncIterator]().next();
  network.last.say({ type: 'LEAVE', data: { room: 'r', reason: 'closed for the night' } });
  assert.deepEqual(await next, { value: undefined, done: true });
  assert.deepEqual(left, [{ room: 'r', reason: 'closed for the night' }]);
  push.close();
});

test('a push that a backend retried through another pod comes once, whichever gateways it comes by', async () => {
  const { push, network, clock } = connected();
  const room = push.join<string>('r');
  const got = collect(room);
  const gaps: unknown[] = [];
  push.on('gap', (gap) => gaps.push(gap));
  network.last.accept();
  network.last.ok();
  const say = (ids: unknown, items: string[]) => network.last.say({ type: 'PUSH', data: { room: 'r', ids, items } });
  say([['a', 1, 1]], ['1']);
  say([['a', 2, 2, 'digest']], ['2', '3']);
  network.last.end(1006);
  await clock.advance(500);
  network.last.accept();
  // Cut to other frames than the first time, beside what is new.
  say([['b', 9, 1, 'digest']], ['2']);
  say(
    [
      ['b', 10, 1, 'digest', 1],
      ['b', 11, 1],
    ],
    ['3', '4'],
  );
  // The gateway itself has dropped one more retry.
  say(
    [
      ['a', 4, 0, 2],
      ['a', 6, 1],
    ],
    ['5'],
  );
  assert.deepEqual(got, ['1', '2', '3', '4', '5']);
  assert.deepEqual(gaps, []);
  push.close();
});

test('a room that the gateway lost is joined again, and an error tells it', async () => {
  const { push, network } = connected();
  const room = push.join('r');
  const errors: PushError[] = [];
  push.on('error', (error) => errors.push(error));
  push.on('left', () => assert.fail('it was not left for good'));
  network.last.accept();
  network.last.ok();
  network.last.sent.length = 0;
  network.last.say({ type: 'LEAVE', data: { room: 'r', reason: 'the bus refuses it', code: 'unavailable' } });
  assert.deepEqual(
    network.last.sent.map(({ type }) => type),
    ['JOIN'],
  );
  assert.deepEqual(
    errors.map(({ code, message }) => [code, message]),
    [['unavailable', 'the bus refuses it']],
  );
  const got = collect(room);
  network.last.say(pushFrame('r', 'a', 1, 1));
  assert.equal(got.length, 1);
  push.close();
});

test('every room is joined again after a reconnect, and repeats are dropped across it', async () => {
  const { push, network, clock } = connected();
  const rooms = ['r', 's'].map((name) => push.join<{ n: number }>(name));
  const [r] = rooms.map(collect);
  network.last.accept();
  network.last.ok();
  network.last.say(pushFrame('r', 'a', 1, 5));
  network.last.end(1006);
  await clock.advance(500);
  network.last.accept();
  assert.deepEqual(
    network.last.sent.map(({ type, data }) => [type, data.room]),
    [
      ['JOIN', 'r'],
      ['JOIN', 's'],
    ],
  );
  network.last.say(pushFrame('r', 'a', 4, 7));
  assert.deepEqual(
    r?.map(({ n }) => n),
    [1, 2, 3, 4, 5, 6, 7],
  );
  push.close();
});

test('a consumer that lags loses the oldest items, and is told how many', async () => {
  const { push, network, clock } = connected({ queueLimit: 3 });
  const room = push.join<{ n: number }>('r');
  network.last.accept();
  const lagged: Lagged[] = [];
  push.on('lagged', (event) => lagged.push(event));
  const items = room[Symbol.asyncIterator]();
  network.last.say(pushFrame('r', 'a', 1, 5));
  assert.deepEqual(lagged, [], 'it has had no turn to read');
  await clock.advance(0);
  network.last.say(pushFrame('r', 'a', 6, 6));
  await clock.advance(0);
  assert.deepEqual(lagged, [
    { room: 'r', dropped: 2, reason: 'queue' },
    { room: 'r', dropped: 1, reason: 'queue' },
  ]);
  for (const n of [4, 5, 6]) assert.equal((await items.next()).value?.n, n);
  push.close();
});

test('LAGGED reaches the client and the room', () => {
  const { push, network } = connected();
  const told: Lagged[] = [];
  push.on('lagged', (event) => told.push(event));
  push.join('r').on('lagged', (event) => told.push(event));
  network.last.accept();
  network.last.say({ type: 'LAGGED', data: { room: 'r', dropped: 12, reason: 'slow' } });
  network.last.say({ type: 'LAGGED', data: { dropped: 2, reason: 'bus_gap' } });
  assert.deepEqual(told, [
    { room: 'r', dropped: 12, reason: 'slow' },
    { room: 'r', dropped: 12, reason: 'slow' },
    { dropped: 2, reason: 'bus_gap' },
  ]);
  push.close();
});

test('close() ends everything at once and leaves no timer behind', async () => {
  const { push, network, clock } = connected();
  const room = push.join('r');
  network.last.accept();
  const next = room[Symbol.asyncIterator]().next();
  const everyone = push.all[Symbol.asyncIterator]().next();
  push.close();
  assert.equal(push.state, 'closed');
  assert.equal(network.last.closedWith, 1000);
  assert.equal((await next).done, true);
  assert.equal((await everyone).done, true);
  await assert.rejects(room.joined, { code: 'closed' });
  assert.equal(clock.pending, 0);
  assert.throws(() => push.join('r'), { code: 'closed' });
});

test('a gateway that closes for good ends the streams with an error', async () => {
  const { push, network } = connected();
  const next = push.join('r')[Symbol.asyncIterator]().next();
  network.last.accept();
  network.last.end(4403, 'origin not allowed');
  await assert.rejects(next, { name: 'PushError', code: 'closed', message: /4403: origin not allowed/ });
  assert.equal(push.state, 'closed');
});

test('abort signals leave the room and close the client', async () => {
  const client = new AbortController();
  const inRoom = new AbortController();
  const { push, network } = connected({ signal: client.signal });
  network.last.accept();
  const room = push.join('r', { signal: inRoom.signal });
  inRoom.abort();
  await assert.rejects(room.joined, { code: 'left' });
  client.abort();
  assert.equal(push.state, 'closed');
  assert.equal(connected({ signal: AbortSignal.abort() }).network.sockets.length, 0);
});

test('the token goes into the address, and its callback is asked at each connect', async () => {
  let calls = 0;
  const { push, network, clock } = connected({ token: async () => `token-${++calls}` });
  await turn();
  assert.equal(network.last.url.searchParams.get('token'), 'token-1');
  network.last.accept();
  network.last.end(1006);
  await clock.advance(500);
  assert.equal(network.last.url.searchParams.get('token'), 'token-2');
  push.close();
});

test('a token is replaced in band before it expires, and again', async () => {
  const clock = new SimulatedClock();
  const token = () => jwt({ exp: clock.now() / 1000 + 600 });
  const { push, network } = connected({ clock, token, idleTimeout: 3_600_000 });
  await turn();
  network.last.accept();
  for (let refresh = 0; refresh < 2; refresh++) {
    await clock.advance(479_000);
    network.last.sent.length = 0;
    await clock.advance(2_000);
    const auth = network.last.sent.filter(({ type }) => type === 'AUTH');
    assert.deepEqual(auth.length, 1);
    assert.ok(auth[0]?.id !== undefined && typeof auth[0].data.token === 'string');
    network.last.ok();
  }
  assert.equal(network.sockets.length, 1);
  push.close();
});

test('a refresh that is refused or fails is told and tried again', async () => {
  const clock = new SimulatedClock();
  let broken = false;
  const token = () => {
    if (broken) throw new Error('identity provider is down');
    return jwt({ exp: clock.now() / 1000 + 100 });
  };
  const { push, network } = connected({ clock, token, idleTimeout: 3_600_000 });
  const errors: PushError[] = [];
  push.on('error', (error) => errors.push(error));
  await turn();
  network.last.accept();
  await clock.advance(70_000);
  const id = network.last.sent.find(({ type }) => type === 'AUTH')?.id;
  network.last.say({ type: 'ERROR', id, data: { code: 'unauthorized', message: 'unknown key' } });
  broken = true;
  // Five seconds and a back-off.
  await clock.advance(5_500);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['unauthorized', 'token'],
  );
  broken = false;
  network.last.sent.length = 0;
  await clock.advance(6_000);
  assert.ok(network.last.sent.some(({ type }) => type === 'AUTH'));
  push.close();
});

test('a token callback that fails at connect is told, and tried again with growing pauses', async () => {
  let calls = 0;
  const { push, clock } = connected({ token: () => Promise.reject(new Error(`no ${++calls}`)) });
  const errors: PushError[] = [];
  push.on('error', (error) => errors.push(error));
  await turn();
  assert.equal(push.state, 'waiting');
  await clock.advance(250 + 500);
  assert.equal(calls, 3);
  assert.ok(
    errors.every((error) => error instanceof PushError && error.code === 'token' && error.cause instanceof Error),
  );
  push.close();
});

test('a token callback that throws at once is told to listeners that are registered after the constructor', async () => {
  const thrown = new Error('no session');
  const { push } = connected({
    token: () => {
      throw thrown;
    },
  });
  const causes: unknown[] = [];
  push.on('error', ({ cause }) => causes.push(cause));
  await turn();
  assert.deepEqual(causes, [thrown]);
  push.close();
});

test('frames are shown as they came on the wire', () => {
  const { push, network, clock } = connected();
  const frames: object[] = [];
  push.on('frame', (frame) => frames.push(frame));
  network.last.accept();
  const text = JSON.stringify({ type: 'PUSH', data: { items: ['弹幕', 2] } });
  network.last.say(text);
  assert.deepEqual(frames, [{ bytes: Buffer.byteLength(text), text, items: 2, at: clock.now() }]);
  push.close();
});

test('deflate is offered first where it can be inflated, and not where it is not wanted', () => {
  assert.deepEqual(connected().network.last.protocols, ['pushcluster.v1.deflate', 'pushcluster.v1']);
  assert.deepEqual(connected({ compression: false }).network.last.protocols, ['pushcluster.v1']);
});

test('http addresses become ws, and what is no address is refused at once', () => {
  const network = new SimulatedNetwork();
  const push = new PushClient('https://push.example/connect#top', { WebSocket: network.WebSocket });
  assert.equal(network.last.url.href, 'wss://push.example/connect');
  push.close();
  assert.throws(() => new PushClient('not an address', { WebSocket: network.WebSocket }), TypeError);
});
