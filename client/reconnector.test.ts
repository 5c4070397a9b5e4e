import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PushOptions } from './options.ts';
import { PushClient } from './pushClient.ts';
import type { Closed } from './pushEvents.ts';
import { pushFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket, turn } from './simulation.ts';

function client(options: PushOptions = {}) {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', {
    WebSocket: network.WebSocket,
    clock,
    random: () => 1,
    ...options,
  });
  const closes: Closed[] = [];
  push.on('close', (event) => closes.push(event));
  const events: string[] = [];
  for (const name of ['open', 'close', 'moved'] as const) push.on(name, () => events.push(name));
  const room = push.join<{ p: string; n: number }>('r');
  const seen: string[] = [];
  room.on('item', ({ p, n }) => seen.push(`${p}${n}`));
  room.on('gap', ({ publisher, missed }) => seen.push(`gap ${publisher} ${missed}`));
  return { push, network, clock, closes, events, room, seen };
}

for (const code of [1000, 1001, 1006, 1011, 1012, 1013, 4003])
  test(`after ${code} the client comes back`, async () => {
    const { push, network, clock, closes } = client();
    network.last.accept();
    network.last.end(code, 'why');
    assert.equal(push.state, 'waiting');
    const [closed] = closes;
    assert.ok(closed?.willRetry && closed.code === code && closed.reason === 'why');
    await clock.advance(closed.retryIn! - 1);
    assert.equal(network.sockets.length, 1);
    await clock.advance(1);
    assert.equal(network.sockets.length, 2);
    assert.equal(push.state, 'connecting');
    network.last.accept();
    assert.equal(push.state, 'open');
    push.close();
  });

for (const code of [1009, 4002, 4004, 4403])
  test(`after ${code} the client stays away`, async () => {
    const { push, network, clock, closes } = client();
    network.last.accept();
    network.last.end(code, 'why');
    assert.deepEqual(closes, [{ code, reason: 'why', willRetry: false }]);
    await clock.advance(600_000);
    assert.equal(network.sockets.length, 1);
    assert.equal(push.state, 'closed');
  });

for (const code of [4001, 4401])
  test(`after ${code} the client comes back with a fresh token, and stays away where it has no source of one`, async () => {
    let tokens = 0;
    const fresh = client({ token: () => `t${++tokens}` });
    await turn();
    fresh.network.last.accept();
    fresh.network.last.end(code);
    await fresh.clock.advance(500);
    assert.equal(fresh.network.last.url.searchParams.get('token'), 't2');
    fresh.push.close();
    const fixed = client({ token: 'the same again' });
    fixed.network.last.accept();
    fixed.network.last.end(code);
    assert.equal(fixed.push.state, 'closed');
  });

test('after 1008 the client comes back and sends half as much, ever later, and stays away only where that never helps', async () => {
  const { push, network, clock, closes } = client();
  for (let i = 0; i < 99; i++) push.join(`room ${i}`);
  const bursts: number[] = [];
  for (let i = 0; i < 8; i++) {
    network.last.accept();
    bursts.push(network.last.sent.length);
    network.last.end(1008, 'too fast');
    await clock.advance(closes.at(-1)!.retryIn!);
  }
  assert.deepEqual(bursts, [60, 30, 15, 7, 3, 1, 1, 1]);
  assert.deepEqual(
    closes.map(({ retryIn }) => retryIn),
    [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
  );
  network.last.accept();
  network.last.end(1008, 'too fast');
  assert.deepEqual(closes.at(-1), { code: 1008, reason: 'too fast', willRetry: false });
  assert.equal(push.state, 'closed');
});

for (const rate of [1, 2, 10, 25, 49])
  test(`a gateway that allows ${rate} frames a second is soon joined in all rooms, and the connection stays`, async () => {
    const { push, network, clock, closes } = client();
    const rooms = Array.from({ length: 40 }, (_, i) => push.join(`room ${i}`));
    // As gateway/shard/shard.ts counts.
    const counts = new Map<SimulatedSocket, { second: number; frames: number }>();
    network.onSend = (socket) => {
      const second = Math.floor(clock.now() / 1_000);
      const count = counts.get(socket) ?? { second, frames: 0 };
      count.frames = Math.max(0, count.frames - rate * (second - count.second)) + 1;
      count.second = second;
      counts.set(socket, count);
      if (count.frames > 2 * rate) queueMicrotask(() => socket.end(1008));
    };
    network.onOpen = (socket) => void clock.after(1, () => socket.accept());
    network.last.accept();
    for (let second = 0; second < 300; second++) {
      await clock.advance(1_000);
      network.last.ok();
    }
    await Promise.all(rooms.map(({ joined }) => joined));
    assert.equal(push.state, 'open');
    assert.ok(closes.every(({ willRetry }) => willRetry));
    push.close();
  });

test('refused handshakes make the pauses grow, and a stable connection makes them small again', async () => {
  const { push, network, clock, closes } = client();
  for (let i = 0; i < 8; i++) {
    network.last.end(1006);
    await clock.advance(closes.at(-1)!.retryIn!);
  }
  assert.deepEqual(
    closes.map(({ retryIn }) => retryIn),
    [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
  );
  network.last.accept();
  await clock.advance(9_000);
  network.last.end(1006);
  assert.equal(closes.at(-1)?.retryIn, 30_000, 'nine seconds are not stable');
  await clock.advance(30_000);
  network.last.accept();
  await clock.advance(11_000);
  network.last.end(1006);
  assert.equal(closes.at(-1)?.retryIn, 500);
  push.close();
});

test('a handshake that hangs counts as failed', async () => {
  const { push, network, clock, closes } = client();
  await clock.advance(10_000);
  assert.equal(closes.length, 1);
  assert.equal(network.last.closedWith, 1000);
  push.close();
});

test('a silent connection is asked for a sign of life, and given up where none comes', async () => {
  const { push, network, clock, closes } = client();
  network.last.accept();
  network.last.ok();
  await clock.advance(39_000);
  network.last.say(pushFrame('r', 'a', 1, 1));
  await clock.advance(39_000);
  assert.deepEqual(network.last.sent, [], 'something came in time');
  await clock.advance(2_000);
  assert.deepEqual(network.last.sent, [{ type: 'PING', data: {} }]);
  network.last.say({ type: 'PONG', data: {} });
  await clock.advance(20_000);
  assert.equal(push.state, 'open');
  await clock.advance(20_000 + 10_000);
  assert.deepEqual(
    closes.map(({ code }) => code),
    [1006],
  );
  push.close();
});

test('100 rooms are joined at a pace that the gateway allows', async () => {
  const { push, network, clock } = client();
  for (let i = 0; i < 99; i++) push.join(`room ${i}`);
  network.last.accept();
  assert.equal(network.last.sent.length, 60);
  await clock.advance(500);
  assert.ok(network.last.sent.length <= 60 + 20);
  await clock.advance(500);
  assert.equal(network.last.sent.length, 100);
  push.close();
});

// ── moves: make before break ──

/** A client that is open and in its room, and was told to move within 8 s. */
async function moving(options: PushOptions = {}, withinMs = 8_000, overlapMs?: number) {
  const made = client({ random: () => 0, ...options });
  // A token callback may be asked first.
  await turn();
  const old = made.network.last;
  old.accept();
  old.ok();
  old.say(pushFrame('r', 'a', 1, 2));
  old.say({ type: 'RECONNECT', data: { withinMs, overlapMs } });
  await made.clock.advance(0);
  return { ...made, old, next: made.network.last };
}

test('a move opens the new connection first, lingers on the old, then drops repeats and goes on', async () => {
  const { push, clock, old, next, seen, events } = await moving();
  assert.notEqual(old, next);
  assert.equal(push.state, 'moving');
  next.accept();
  next.ok();
  next.say(pushFrame('r', 'a', 3, 6));
  old.say(pushFrame('r', 'a', 3, 4));
  assert.deepEqual(seen, ['a1', 'a2', 'a3', 'a4'], 'the new one waits');
  await clock.advance(5_900);
  assert.equal(old.closedWith, undefined);
  await clock.advance(200);
  assert.equal(old.closedWith, 1000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']);
  next.say(pushFrame('r', 'a', 6, 7));
  assert.deepEqual(seen.at(-1), 'a7');
  assert.deepEqual(events, ['open', 'moved']);
  assert.equal(push.state, 'open');
  push.close();
});

test('a new connection that is late overlaps with the old one all the same', async () => {
  const { push, clock, old, next } = await moving();
  await clock.advance(7_000);
  next.accept();
  next.ok();
  await clock.advance(1_900);
  assert.equal(old.closedWith, undefined);
  await clock.advance(200);
  assert.equal(old.closedWith, 1000);
  push.close();
});

test('where the old connection ends early, the new one takes over at once', async () => {
  const { push, old, next, seen, events } = await moving();
  next.accept();
  next.ok();
  next.say(pushFrame('r', 'a', 2, 3));
  old.end(1012);
  await turn();
  assert.deepEqual(seen, ['a1', 'a2', 'a3']);
  assert.deepEqual(events, ['open', 'close', 'open'], 'what waited in a window there may be lost');
  assert.equal(push.state, 'open');
  push.close();
});

test('where the old connection ends after all that waited in a window has come, that was the move', async () => {
  const { push, old, next, events, clock, closes } = await moving();
  next.accept();
  next.ok();
  await clock.advance(1_900);
  old.say(pushFrame('r', 'a', 3, 3));
  await clock.advance(200);
  old.end(1012);
  assert.deepEqual(events, ['open', 'moved']);
  assert.deepEqual(closes, []);
  push.close();
});

test('where the old connection breaks while the new one is still joining, that is a reconnect', async () => {
  const { push, old, next, events, closes, clock } = await moving();
  next.accept();
  await clock.advance(3_000);
  old.end(1006, 'lost');
  assert.deepEqual(events, ['open', 'close', 'open']);
  assert.deepEqual(closes, [{ code: 1006, reason: 'lost', willRetry: true }]);
  next.ok();
  await clock.advance(10_000);
  assert.deepEqual(events, ['open', 'close', 'open']);
  push.close();
});

test('the old connection is listened to for as long as its gateway says, however late the new one is', async () => {
  const { push, old, next, network, seen, events, clock } = await moving({}, 30_000, 11_000);
  await clock.advance(9_000);
  next.end(1006);
  await clock.advance(9_000);
  const second = network.last;
  assert.notEqual(second, next);
  second.accept();
  second.ok();
  await clock.advance(10_900);
  old.say(pushFrame('r', 'a', 3, 3));
  assert.equal(old.closedWith, undefined);
  await clock.advance(200);
  assert.equal(old.closedWith, 1000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3']);
  assert.deepEqual(events, ['open', 'moved']);
  push.close();
});

test('a token may take its time within a move: it is no handshake that failed', async () => {
  let give = (_token: string) => {};
  let asked = 0;
  const token = () => (++asked === 1 ? 'first' : new Promise<string>((resolve) => (give = resolve)));
  const made = client({ random: () => 0, token });
  await turn();
  const old = made.network.last;
  old.accept();
  old.ok();
  old.say({ type: 'RECONNECT', data: { withinMs: 30_000, overlapMs: 11_000 } });
  await made.clock.advance(18_000);
  assert.equal(asked, 2, 'and is asked for once');
  give('second');
  await turn();
  const next = made.network.last;
  next.accept();
  next.ok();
  await made.clock.advance(10_900);
  old.say(pushFrame('r', 'a', 1, 1));
  next.say(pushFrame('r', 'a', 2, 2));
  assert.equal(old.closedWith, undefined);
  await made.clock.advance(200);
  assert.equal(old.closedWith, 1000);
  assert.deepEqual(made.seen, ['a1', 'a2']);
  assert.deepEqual(made.events, ['open', 'moved']);
  made.push.close();
});

// ── ways out of a room, on two connections ──

for (const by of ['old', 'next'] as const)
  test(`a kick on the ${by} connection of a move takes the client out of the room on both`, async () => {
    const made = await moving();
    const { push, clock, room } = made;
    made.next.accept();
    made.next.ok();
    const lefts: object[] = [];
    push.on('left', (left) => lefts.push(left));
    made[by].say({ type: 'LEAVE', data: { room: 'r', reason: 'over' } });
    const other = by === 'old' ? made.next : made.old;
    assert.deepEqual(
      [made[by], other].map(({ sent }) => sent.map(({ type }) => type)),
      [[], ['LEAVE']],
    );
    other.say({ type: 'LEAVE', data: { room: 'r', reason: 'over' } });
    assert.deepEqual(lefts, [{ room: 'r', reason: 'over' }], 'told once');
    assert.notEqual(push.join('r'), room);
    await clock.advance(0);
    push.close();
  });

test('a kick on the old connection, out of the only room that the next one has not joined yet, does not stop the move', async () => {
  const { push, clock, old, next, events } = await moving({}, 8_000, 1_000);
  push.join('s');
  old.ok();
  next.accept();
  const joinOf = (name: string) => next.sent.find(({ data }) => data.room === name)!.id;
  const [r, s] = [joinOf('r'), joinOf('s')];
  next.say({ type: 'OK', id: s, data: {} });
  old.say({ type: 'LEAVE', data: { room: 'r', reason: 'over' } });
  next.say({ type: 'OK', id: r, data: {} });
  await clock.advance(6_999);
  assert.equal(push.state, 'moving');
  await clock.advance(1);
  assert.equal(push.state, 'open');
  assert.deepEqual(events, ['open', 'moved']);
  push.close();
});

test('a kick while the JOIN waits settles joined, and tells left once', async () => {
  const { push, network } = client();
  network.last.accept();
  const late = push.join('late');
  const id = network.last.sent.at(-1)!.id;
  const lefts: object[] = [];
  push.on('left', (left) => lefts.push(left));
  network.last.say({ type: 'ERROR', id, data: { code: 'left', message: 'over' } });
  network.last.say({ type: 'LEAVE', data: { room: 'late', reason: 'over' } });
  await assert.rejects(late.joined, { code: 'left' });
  assert.deepEqual(lefts, [{ room: 'late', reason: 'over' }]);
  push.close();
});

test('a kick by an older gateway, which answers no JOIN then, settles joined too', async () => {
  const { push, network } = client();
  network.last.accept();
  const late = push.join('late');
  network.last.say({ type: 'LEAVE', data: { room: 'late', reason: 'over' } });
  await assert.rejects(late.joined, { code: 'left' });
  push.close();
});

test('what comes before LEAVE is answered is of the membership that was left', async () => {
  const { push, network, room } = client();
  network.last.accept();
  network.last.ok();
  room.leave();
  const again = push.join<{ n: number }>('r');
  const seen: number[] = [];
  again.on('item', ({ n }) => seen.push(n));
  push.on('lagged', () => seen.push(-1));
  network.last.say(pushFrame('r', 'a', 1, 1));
  network.last.say({ type: 'LAGGED', data: { room: 'r', dropped: 1, reason: 'slow' } });
  network.last.say({ type: 'LEAVE', data: { room: 'r', reason: 'over' } });
  network.last.ok();
  await again.joined;
  network.last.say(pushFrame('r', 'a', 3, 3));
  assert.deepEqual(seen, [3]);
  push.close();
});

test('what comes before LEAVE is answered is not heard, however many rooms were left since', async () => {
  const { push, network, clock } = client();
  network.last.accept();
  const rooms = Array.from({ length: 102 }, (_, i) => push.join(`room ${i}`));
  await clock.advance(5_000);
  network.last.ok();
  await Promise.all(rooms.map(({ joined }) => joined));
  for (const room of rooms) room.leave();
  const seen: number[] = [];
  const again = push.join<{ n: number }>('room 0');
  again.on('item', ({ n }) => seen.push(n));
  network.last.say(pushFrame('room 0', 'a', 1, 1));
  await clock.advance(5_000);
  network.last.ok();
  await again.joined;
  network.last.say(pushFrame('room 0', 'a', 2, 2));
  assert.deepEqual(seen, [2]);
  push.close();
});

test('leaving and joining anew within a move repeats nothing, and tells no gap of what came between', async () => {
  const { push, clock, old, next, seen, room } = await moving();
  next.accept();
  next.ok();
  next.say(pushFrame('r', 'a', 1, 3));
  old.say(pushFrame('r', 'a', 3, 3));
  room.leave();
  const again = push.join<{ n: number }>('r');
  again.on('item', ({ n }) => seen.push(`again ${n}`));
  again.on('gap', ({ missed }) => seen.push(`gap ${missed}`));
  old.ok();
  next.ok();
  await again.joined;
  // A window there held these from before.
  next.say(pushFrame('r', 'a', 2, 3));
  next.say(pushFrame('r', 'a', 6, 6));
  await clock.advance(8_000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3', 'again 6']);
  push.close();
});

test('joined waits for the connection whose items come', async () => {
  const { push, clock, old, next } = await moving();
  next.accept();
  next.ok();
  const late = push.join('late');
  let joined = false;
  late.joined.then(() => {
    joined = true;
  });
  next.ok();
  await turn();
  assert.equal(joined, false, 'what the new one gets is not delivered yet');
  await clock.advance(8_000);
  assert.equal(old.closedWith, 1000);
  await late.joined;
  push.close();
});

test('LAGGED of the new connection is not told where the old one delivered the items, and lasts the move until it has', async () => {
  const { push, clock, old, next, seen } = await moving();
  const lagged: number[] = [];
  push.on('lagged', ({ dropped }) => lagged.push(dropped));
  next.accept();
  next.ok();
  await clock.advance(5_900);
  next.say({ type: 'LAGGED', data: { room: 'r', dropped: 2, reason: 'slow' } });
  next.say(pushFrame('r', 'a', 5, 5));
  await clock.advance(1_500);
  old.say(pushFrame('r', 'a', 3, 4));
  await clock.advance(1_000);
  assert.equal(old.closedWith, 1000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3', 'a4', 'a5']);
  assert.deepEqual(lagged, []);
  next.say({ type: 'LAGGED', data: { room: 'r', dropped: 1, reason: 'slow' } });
  assert.deepEqual(lagged, [1]);
  push.close();
});

test('LAGGED without a room speaks of items to all and to the user: the move lasts until the old one has delivered both', async () => {
  const { push, clock, old, next } = await moving();
  const lagged: unknown[] = [];
  push.on('lagged', (event) => lagged.push(event));
  for (const stream of [push.all, push.user]) stream.on('lagged', (event) => lagged.push(event));
  const users: unknown[] = [];
  push.user.on('item', (item) => users.push(item));
  next.accept();
  next.ok();
  await clock.advance(5_900);
  next.say({ type: 'LAGGED', data: { dropped: 2, reason: 'slow' } });
  await clock.advance(1_500);
  old.say(pushFrame(undefined, 'a', 1, 2, { user: true }));
  await clock.advance(1_000);
  assert.equal(old.closedWith, 1000);
  assert.equal(users.length, 2);
  assert.deepEqual(lagged, []);
  next.say({ type: 'LAGGED', data: { dropped: 1, reason: 'slow' } });
  assert.deepEqual(lagged, [{ dropped: 1, reason: 'slow' }], 'told once, by the client');
  push.close();
});

test('LAGGED of the new connection is told where the old one ended before it had delivered the items', async () => {
  const { push, old, next } = await moving();
  const lagged: number[] = [];
  push.on('lagged', ({ dropped }) => lagged.push(dropped));
  next.accept();
  next.ok();
  next.say({ type: 'LAGGED', data: { room: 'r', dropped: 2, reason: 'slow' } });
  old.end(1006);
  await turn();
  assert.deepEqual(lagged, [2]);
  push.close();
});

test('where the old connection ends before the new one is open, that one is waited for', async () => {
  const { push, old, next, seen, events, network } = await moving();
  old.end(1012);
  await turn();
  assert.equal(push.state, 'connecting');
  next.accept();
  next.say(pushFrame('r', 'a', 5, 5));
  assert.deepEqual(seen, ['a1', 'a2', 'gap a 2', 'a5']);
  assert.deepEqual(events, ['open', 'close', 'open']);
  assert.equal(network.sockets.length, 2);
  push.close();
});

test('a new connection that fails is tried again, while the old one serves on', async () => {
  const { push, clock, old, next, network, seen } = await moving();
  next.end(1006);
  assert.equal(push.state, 'moving');
  await clock.advance(0);
  assert.equal(network.sockets.length, 3);
  old.say(pushFrame('r', 'a', 3, 3));
  network.last.accept();
  network.last.ok();
  await clock.advance(6_000);
  assert.equal(old.closedWith, 1000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3']);
  push.close();
});

test('a new connection without a token joins nothing: the old one serves on, and another one is opened', async () => {
  const tokens = ['first', null, 'third'];
  const { push, clock, old, next, network, seen } = await moving({ token: () => tokens.shift() });
  next.accept();
  for (const { id } of next.sent)
    next.say({ type: 'ERROR', id, data: { code: 'unauthorized', message: 'AUTH is required first' } });
  old.say(pushFrame('r', 'a', 3, 3));
  next.end(4401);
  await clock.advance(0);
  assert.equal(network.sockets.length, 3);
  network.last.accept();
  network.last.ok();
  await clock.advance(6_000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3']);
  assert.equal(push.state, 'open');
  push.close();
});

test('where no new connection can be had, the old one serves to its end, and then the client reconnects as usual', async () => {
  const { push, clock, old, network, closes, seen } = await moving({ random: () => 1 });
  for (let i = 0; i < 8; i++) {
    await clock.advance(1_000);
    if (network.last !== old) network.last.end(1006);
  }
  assert.equal(push.state, 'open');
  old.say(pushFrame('r', 'a', 3, 3));
  old.end(1012);
  assert.equal(push.state, 'waiting');
  assert.deepEqual(
    closes.map(({ code }) => code),
    [1012],
  );
  await clock.advance(2_000);
  network.last.accept();
  assert.equal(push.state, 'open');
  assert.deepEqual(seen, ['a1', 'a2', 'a3']);
  push.close();
});

test('where a room can not be joined elsewhere, the client stays where it is, on one connection', async () => {
  const { push, clock, network, old, next, seen, events } = await moving({ idleTimeout: 3_600_000 });
  next.accept();
  network.onSend = (socket, frame) => {
    if (socket !== old && frame.type === 'JOIN')
      socket.say({ type: 'ERROR', id: frame.id, data: { code: 'unavailable', message: 'too many rooms' } });
  };
  next.say({ type: 'ERROR', id: next.sent[0]?.id, data: { code: 'unavailable', message: 'too many rooms' } });
  await clock.advance(60_000);
  assert.equal(push.state, 'moving');
  await clock.advance(10_000);
  assert.equal(push.state, 'open');
  assert.deepEqual([old.closedWith, next.closedWith], [undefined, 1000]);
  old.say(pushFrame('r', 'a', 3, 3));
  assert.equal(seen.at(-1), 'a3');
  assert.deepEqual(events, ['open']);
  push.close();
});

test('a second RECONNECT during a move changes nothing but the deadline', async () => {
  const { push, clock, old, next, network } = await moving();
  next.accept();
  next.ok();
  await clock.advance(1_000);
  old.say({ type: 'RECONNECT', data: { withinMs: 2_000 } });
  await clock.advance(1_600);
  assert.equal(old.closedWith, 1000);
  assert.equal(network.sockets.length, 2);
  assert.equal(push.state, 'open');
  push.close();
});

test('where the new gateway leaves as well, the client moves on as soon as it has arrived', async () => {
  const { push, clock, next, network, seen } = await moving();
  next.accept();
  next.ok();
  await clock.advance(1_000);
  next.say({ type: 'RECONNECT', data: { withinMs: 20_000 } });
  await clock.advance(5_000);
  assert.equal(network.sockets.length, 3);
  assert.equal(push.state, 'moving');
  network.last.accept();
  network.last.ok();
  next.say(pushFrame('r', 'a', 3, 3));
  network.last.say(pushFrame('r', 'a', 3, 4));
  await clock.advance(12_000);
  assert.equal(next.closedWith, 1000);
  assert.deepEqual(seen, ['a1', 'a2', 'a3', 'a4']);
  push.close();
});

test('where a user may have one session, 4004 on the old connection is part of the move', async () => {
  const { push, old, next } = await moving();
  next.accept();
  old.end(4004);
  assert.equal(push.state, 'open');
  push.close();
});

test('a backend that disconnects the user during a move ends both connections', async () => {
  const { push, old, next } = await moving();
  next.accept();
  old.end(4002);
  assert.equal(push.state, 'closed');
  assert.equal(next.closedWith, 1000);
});

test('rooms that are joined and left during a move are so on both connections', async () => {
  const { push, clock, old, next, room } = await moving();
  next.accept();
  next.ok();
  const late = push.join('late');
  room.leave();
  assert.deepEqual(
    [old, next].map(({ sent }) => sent.map(({ type, data }) => `${type} ${data.room}`)),
    [
      ['JOIN late', 'LEAVE r'],
      ['JOIN late', 'LEAVE r'],
    ],
  );
  old.ok();
  await late.joined;
  await clock.advance(6_500);
  assert.equal(old.closedWith, undefined, 'the new connection is not in every room yet');
  next.ok();
  await clock.advance(2_000);
  assert.equal(old.closedWith, 1000);
  push.close();
});

test('what is kept of the new connection is bounded: what the old one delivered goes first', async () => {
  const { push, clock, old, next, seen } = await moving();
  next.accept();
  next.ok();
  for (let n = 3; n <= 30_000; n += 1_000) {
    next.say(pushFrame('r', 'a', n, n + 999));
    old.say(pushFrame('r', 'a', n, n + 999));
  }
  old.end(1012);
  await clock.advance(0);
  next.say(pushFrame('r', 'a', 30_003, 30_003));
  assert.equal(seen.length, 30_003);
  assert.ok(seen.every((item, i) => item === `a${i + 1}`));
  push.close();
});

test('where the old connection stands still, what overflows is told as a gap', async () => {
  const { push, clock, old, next, seen } = await moving();
  next.accept();
  next.ok();
  for (let n = 3; n <= 12_000; n += 1_000) next.say(pushFrame('r', 'a', n, n + 999));
  old.end(1012);
  await clock.advance(0);
  assert.equal(seen[2], 'gap a 2000');
  assert.equal(seen.at(-1), 'a12002');
  push.close();
});

test('where the old connection stands still, a frame with more items than may be held is delivered, and the rest is told as a gap', async () => {
  for (const sizes of [[9_001, 1_000], [10_001], [1_000, 9_001], [1, 10_001]]) {
    const { push, clock, old, next, seen } = await moving();
    next.accept();
    next.ok();
    let n = 3;
    for (const size of sizes) {
      next.say(pushFrame('r', 'a', n, n + size - 1));
      n += size;
    }
    old.end(1012);
    await clock.advance(0);
    const missed = n - 3 - sizes.at(-1)!;
    assert.deepEqual(seen.slice(2, 3), [missed > 0 ? `gap a ${missed}` : 'a3'], `${sizes}`);
    assert.equal(seen.at(-1), `a${n - 1}`);
    push.close();
  }
});

test('close() during a move closes both connections and leaves no timer', async () => {
  const { push, clock, old, next } = await moving();
  next.accept();
  push.close();
  assert.deepEqual([old.closedWith, next.closedWith], [1000, 1000]);
  assert.equal(clock.pending, 0);
});

test('a RECONNECT before the connection counts as open, and another one after, make one move', async () => {
  const { push, network, clock } = client({ random: () => 0 });
  const old = network.last;
  old.say({ type: 'RECONNECT', data: { withinMs: 8_000 } });
  old.accept();
  old.say({ type: 'RECONNECT', data: { withinMs: 8_000 } });
  await clock.advance(300);
  assert.equal(network.sockets.length, 2);
  push.close();
  assert.equal(clock.pending, 0);
  assert.deepEqual(
    network.sockets.map(({ closedWith }) => closedWith),
    [1000, 1000],
  );
});
