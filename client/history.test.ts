import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PushClient } from './pushClient.ts';
import { pushFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket, turn } from './simulation.ts';
import type { JoinOptions } from './stream.ts';

/** A client with a room, what the room said, and gateways that are the test's. */
function joined(options: JoinOptions = {}) {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0.5 });
  const said: unknown[] = [];
  const room = push.join<number>('r', options);
  room.on('item', (item) => said.push(item));
  room.on('resumed', ({ items }) => said.push(`resumed ${items}`));
  room.on('reset', ({ reason }) => said.push(reason));
  push.on('gap', () => said.push('gap'));
  network.last.accept();
  return { push, room, network, clock, said };
}

const at = (seq: number, epoch = 'e') => ({ epoch, seq });

/** A frame of the pushes from after `prev` up to `seq`: each has one item, its seq. */
function pushed(prev: number, seq: number, epoch = 'e') {
  const items = Array.from({ length: seq - prev }, (_, i) => prev + i + 1);
  return { type: 'PUSH', data: { room: 'r', seq, prev, epoch, items } };
}

/** Answers the one JOIN that waits. @returns what it said */
function answer(socket: SimulatedSocket, data: object): object {
  const [frame, ...more] = socket.sent.splice(0);
  assert.ok(frame?.type === 'JOIN' && more.length === 0, JSON.stringify([frame, ...more]));
  socket.say({ type: 'OK', id: frame.id, data: { room: 'r', ...data } });
  const { room: _, ...from } = frame.data;
  return from;
}

/** The connection ends, and another one opens. */
async function again({ network, clock }: ReturnType<typeof joined>, code = 1006): Promise<SimulatedSocket> {
  network.last.end(code);
  await clock.advance(10_000);
  network.last.accept();
  return network.last;
}

/** The gateway sends the client away, and another one accepts it. @returns the old one */
async function moving({ network, clock }: ReturnType<typeof joined>): Promise<SimulatedSocket> {
  const old = network.last;
  old.say({ type: 'RECONNECT', data: { withinMs: 8_000, overlapMs: 2_000 } });
  await clock.advance(1_000);
  network.last.accept();
  return old;
}

test('a room has the position of its OK, and then of each frame, before its items are told', () => {
  const client = joined();
  const { room, network } = client;
  assert.equal(room.position, undefined);
  assert.deepEqual(answer(network.last, at(40)), {});
  const heard = client.clock.now();
  assert.deepEqual(room.position, { ...at(40), at: heard });
  const positions: unknown[] = [];
  room.on('item', (item) => positions.push([item, room.position?.seq]));
  network.last.say(pushed(40, 42));
  assert.deepEqual(positions, [
    [41, 42],
    [42, 42],
  ]);
  assert.deepEqual(JSON.parse(JSON.stringify(room.position)), { ...at(42), at: heard });
  client.push.close();
});

test('after any close what was missed comes in order, then what is pushed, and nothing twice', async () => {
  for (const code of [1000, 1006, 1008, 1012, 1013, 4003]) {
    const client = joined();
    answer(client.network.last, at(40));
    client.network.last.say(pushed(40, 41));
    const next = await again(client, code);
    assert.deepEqual(answer(next, { ...at(44), recovered: true }), { since: at(41), away: 10_000 });
    next.say(pushed(41, 43));
    next.say(pushed(43, 44));
    next.say(pushed(40, 44));
    next.say(pushed(44, 45));
    assert.deepEqual(client.said, [41, 42, 43, 44, 'resumed 3', 45]);
    client.push.close();
  }
});

test('where nothing was missed it says so at once', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  answer(await again(client), { ...at(40), recovered: true });
  assert.deepEqual(client.said, ['resumed 0']);
  client.push.close();
});

test('a close in the middle of a catch-up: it goes on from there, and is as long away as before', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  const next = await again(client);
  answer(next, { ...at(44), recovered: true });
  next.say(pushed(40, 42));
  assert.deepEqual(client.room.position, { ...at(42), at: client.clock.now() - 10_000 });
  const third = await again(client);
  assert.deepEqual(answer(third, { ...at(45), recovered: true }), { since: at(42), away: 20_000 });
  third.say(pushed(42, 45));
  assert.deepEqual(client.said, [41, 42, 43, 44, 45, 'resumed 5']);
  assert.deepEqual(answer(await again(client), { ...at(45), recovered: true }), { since: at(45), away: 10_000 });
  client.push.close();
});

test('while the machine slept it was away too', async () => {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  let slept = 0;
  const push = new PushClient('ws://gateway/connect', {
    WebSocket: network.WebSocket,
    clock: { now: () => clock.now(), after: (ms, run) => clock.after(ms, run), wall: () => clock.now() + slept },
    random: () => 0.5,
  });
  push.join('r');
  network.last.accept();
  answer(network.last, at(40));
  for (const [sleep, away] of [
    [3_600_000, 3_610_000],
    // The clock was set back.
    [-3_600_000, 10_000],
  ] as const) {
    slept += sleep;
    network.last.end(1006);
    await clock.advance(10_000);
    network.last.accept();
    assert.deepEqual(answer(network.last, { ...at(40), recovered: true }), { since: at(40), away });
  }
  push.close();
});

test('a room that its gateway can no longer serve is away, whatever else is heard', async () => {
  const client = joined();
  const { network, clock } = client;
  answer(network.last, at(40));
  network.last.say({ type: 'LEAVE', data: { room: 'r', reason: 'why', code: 'unavailable' } });
  const [{ id } = { id: 0 }] = network.last.sent.splice(0);
  network.last.say({ type: 'ERROR', id, data: { code: 'unavailable', message: 'why' } });
  await clock.advance(200);
  network.last.say({ type: 'PONG', data: {} });
  await clock.advance(200);
  assert.deepEqual(answer(network.last, { ...at(41), recovered: true }), { since: at(40), away: 250 });
  client.push.close();
});

test('a JOIN that waits for its turn says what is true when it is sent', async () => {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0 });
  for (let i = 0; i < 100; i++) push.join(`other ${i}`);
  push.join('r', { since: { ...at(40), at: clock.now() - 7 } });
  network.last.accept();
  assert.ok(network.last.sent.length < 100);
  await clock.advance(5_000);
  const { data } = network.last.sent.at(-1)!;
  const away = data.away as number;
  assert.deepEqual(data, { room: 'r', since: at(40), away });
  assert.ok(away > 1_000 && away < 2_000, `${away} ms`);
  push.close();
});

test('where the position is not the one before the frame, the room is joined again, once at a time', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  network.last.say(pushed(42, 43));
  network.last.say(pushed(43, 44));
  assert.deepEqual(said, []);
  assert.deepEqual(client.room.position, { ...at(40), at: undefined });
  // How long it lacked something is not known.
  assert.deepEqual(answer(network.last, { ...at(44), recovered: true }), { since: at(40) });
  network.last.say(pushed(40, 44));
  network.last.say(pushed(44, 45));
  assert.deepEqual(said, [41, 42, 43, 44, 'resumed 4', 45]);
  // Nor is a part of a frame delivered.
  network.last.say(pushed(43, 46));
  answer(network.last, { ...at(46), recovered: true });
  network.last.say(pushed(45, 46));
  assert.deepEqual(said.slice(6), [46, 'resumed 1']);
  client.push.close();
});

test('a gateway whose frames never follow on is not asked without a pause', async () => {
  const client = joined();
  const { network, clock } = client;
  answer(network.last, at(40));
  let joins = 0;
  network.onSend = (socket, { id }) => {
    joins++;
    socket.say({ type: 'OK', id, data: { room: 'r', ...at(44), recovered: true } });
    socket.say(pushed(50, 51));
  };
  network.last.say(pushed(50, 51));
  await clock.advance(60_000);
  assert.ok(joins > 3 && joins < 20, `${joins} JOINs`);
  client.push.close();
});

test('what follows an OK is what was missed, even if all before it has expired', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  const next = await again(client);
  answer(next, { ...at(0), recovered: true });
  assert.deepEqual(client.said, ['resumed 0']);
  assert.equal(client.room.position?.seq, 40);
  next.say(pushed(44, 45));
  assert.deepEqual(
    answer(next, { ...at(45), recovered: true }),
    { since: at(40) },
    'a hole is none that an OK explains',
  );
  next.say({ type: 'PUSH', data: { room: 'r', ...at(45), prev: 0, items: ['first'] } });
  next.say(pushed(45, 46));
  assert.deepEqual(client.said, ['resumed 0', 'first', 'resumed 1', 46]);
  client.push.close();
});

test('after what was missed frames follow on where the OK says, whatever has expired, and the position does not go back', async () => {
  // What is missed ends at replayTo; the last push, or all of them, have expired since.
  for (const { since, seq, replayTo } of [
    { since: 40, seq: 44, replayTo: 42 },
    { since: 40, seq: 0, replayTo: 40 },
    { since: 40, seq: 44, replayTo: 40 },
  ]) {
    const client = joined({ since: at(since) });
    const { network, said } = client;
    answer(network.last, { ...at(seq), recovered: true, replayTo });
    if (replayTo > since) network.last.say(pushed(since, replayTo));
    assert.equal(client.room.position?.seq, Math.max(seq, since));
    network.last.say({ type: 'PUSH', data: { room: 'r', ...at(50), prev: seq, items: [50] } });
    assert.deepEqual(said.slice(-2), [`resumed ${replayTo - since}`, 50]);
    assert.deepEqual(network.last.sent, [], 'it was not joined again');
    client.push.close();
  }
  const client = joined({ last: 3 });
  answer(client.network.last, { ...at(44), recovered: true, replayTo: 0 });
  client.network.last.say(pushed(44, 45));
  assert.deepEqual(client.said, ['resumed 0', 45]);
  client.push.close();
});

test('a gateway that is behind tells nothing again, and the next one is told where the room is', async () => {
  const client = joined({ since: at(43) });
  const { network, said } = client;
  answer(network.last, { ...at(42), recovered: true, replayTo: 43 });
  network.last.say(pushed(42, 43));
  const next = await again(client);
  assert.partialDeepStrictEqual(answer(next, { ...at(42), recovered: true, replayTo: 43 }), { since: at(43) });
  next.say(pushed(42, 43));
  next.say(pushed(43, 44));
  const third = await again(client);
  assert.partialDeepStrictEqual(answer(third, { ...at(44), recovered: true }), { since: at(44) });
  third.say(pushed(44, 45));
  assert.deepEqual(said, ['resumed 0', 'resumed 0', 44, 'resumed 0', 45]);
  client.push.close();
});

test('where the old connection of a move has brought more meanwhile, the position does not go back', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  const old = await moving(client);
  old.say(pushed(40, 43));
  answer(network.last, { ...at(42), recovered: true, replayTo: 41 });
  assert.equal(client.room.position?.seq, 43);
  network.last.say(pushed(40, 41));
  network.last.say(pushed(42, 43));
  network.last.say(pushed(43, 44));
  assert.deepEqual(said, [41, 42, 43, 'resumed 0', 44]);
  client.push.close();
});

test('what is not recovered is told, and the room goes on from where the gateway says', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  const next = await again(client);
  answer(next, { ...at(90), recovered: false });
  next.say(pushed(90, 91));
  assert.deepEqual(client.said, ['unrecovered', 91]);
  client.push.close();
});

test('a seq counts in its epoch only', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  network.last.say(pushed(2, 3, 'f'));
  assert.deepEqual(said, ['reset', 3]);
  assert.deepEqual(client.room.position, { ...at(3, 'f'), at: client.clock.now() });
  const next = await again(client);
  // Whatever it says: what it means is another history.
  assert.deepEqual(answer(next, { ...at(7, 'g'), recovered: true }), { since: at(3, 'f'), away: 10_000 });
  next.say(pushed(7, 8, 'g'));
  assert.deepEqual(said, ['reset', 3, 'unrecovered', 8]);
  client.push.close();
});

test('a frame that spans two epochs is not read: what it lacks is asked for, and told', () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  network.last.say({ type: 'PUSH', data: { room: 'r', ...at(2, 'f'), prev: 40, items: ['e41', 'f1', 'f2'] } });
  network.last.say(pushed(2, 3, 'f'));
  assert.deepEqual(said, ['reset', 3]);
  network.last.say({ type: 'PUSH', data: { room: 'r', ...at(4, 'f'), prev: 4, items: [4] } });
  assert.deepEqual(client.room.position?.seq, 3);
  client.push.close();
});

test('a RESET says where the room goes on, in its epoch or another', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  network.last.say({ type: 'RESET', data: { room: 'r', ...at(3, 'f') } });
  assert.deepEqual(client.room.position, { ...at(3, 'f'), at: client.clock.now() });
  network.last.say(pushed(3, 4, 'f'));
  network.last.say({ type: 'RESET', data: { room: 'r', ...at(9, 'f') } });
  network.last.say({ type: 'RESET', data: { room: 'other', ...at(1, 'f') } });
  network.last.say(pushed(9, 10, 'f'));
  assert.deepEqual(said, ['reset', 4, 'reset', 10]);
  assert.deepEqual(answer(await again(client), { ...at(10, 'f'), recovered: true }), {
    since: at(10, 'f'),
    away: 10_000,
  });
  client.push.close();
});

test('a move is a resume: the new connection brings what follows, and the old one nothing more', async () => {
  const client = joined();
  const { network, clock, said } = client;
  let moved = 0;
  client.push.on('moved', () => moved++);
  answer(network.last, at(40));
  network.last.say(pushed(40, 41));
  const old = await moving(client);
  const next = network.last;
  old.say(pushed(41, 42));
  assert.deepEqual(answer(next, { ...at(43), recovered: true }), { since: at(41), away: 1_000 });
  old.say(pushed(42, 44));
  next.say(pushed(41, 42));
  next.say(pushed(42, 43));
  next.say(pushed(43, 45));
  old.say(pushed(44, 45));
  assert.deepEqual(said, [41, 42, 43, 'resumed 1', 44, 45]);
  await clock.advance(8_000);
  assert.equal(moved, 1);
  next.say(pushed(45, 46));
  assert.deepEqual(said.slice(6), [46]);
  client.push.close();
});

test('in a move a frame that the old connection has brought in part is asked for again', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  const old = await moving(client);
  old.say(pushed(40, 42));
  answer(network.last, { ...at(43), recovered: true });
  network.last.say(pushed(40, 43));
  assert.deepEqual(answer(network.last, { ...at(43), recovered: true }), { since: at(42) });
  network.last.say(pushed(42, 43));
  assert.deepEqual(said, [41, 42, 43, 'resumed 1']);
  client.push.close();
});

for (const [what, reset] of [
  ['another history', at(2, 'f')],
  ['a loss in its history', at(60)],
] as const)
  test(`in a move ${what} is told once: the new connection is asked again from where the old one was told`, async () => {
    const client = joined();
    const { network, clock, said } = client;
    answer(network.last, at(40));
    const old = await moving(client);
    const next = network.last;
    const { epoch, seq } = reset;
    old.say({ type: 'RESET', data: { room: 'r', ...reset } });
    old.say(pushed(seq, seq + 1, epoch));
    assert.deepEqual(answer(next, { ...at(seq + 2, epoch), recovered: false }), { since: at(40), away: 1_000 });
    old.say(pushed(seq + 1, seq + 2, epoch));
    await clock.advance(500);
    assert.deepEqual(answer(next, { ...at(seq + 3, epoch), recovered: true }), {
      since: at(seq + 2, epoch),
      away: 250,
    });
    next.say(pushed(seq + 2, seq + 3, epoch));
    assert.deepEqual(said, ['reset', seq + 1, seq + 2, seq + 3, 'resumed 1']);
    // What it says of the place that it was asked for counts, although it had to be asked again.
    next.end(1006);
    await clock.advance(2_000);
    network.last.accept();
    answer(network.last, { ...at(90, epoch), recovered: false });
    assert.deepEqual(said.slice(5), ['unrecovered']);
    client.push.close();
  });

test('a move that fails goes back: the old connection is asked for what the new one had begun to bring', async () => {
  const client = joined();
  const { network, clock, said } = client;
  answer(network.last, at(40));
  const old = await moving(client);
  const next = network.last;
  answer(next, { ...at(42), recovered: true });
  old.say(pushed(40, 42));
  next.say(pushed(40, 41));
  next.end(1006);
  await turn();
  assert.deepEqual(answer(old, { ...at(42), recovered: true }), { since: at(41), away: 0 });
  old.say(pushed(41, 42));
  old.say(pushed(42, 43));
  assert.deepEqual(said, [41, 42, 'resumed 2', 43]);
  await clock.advance(5_000);
  network.last.accept();
  assert.deepEqual(answer(network.last, { ...at(43), recovered: true }), { since: at(43), away: 5_000 });
  client.push.close();
});

test('where neither connection had a position when it joined, the room has nothing twice', async () => {
  const client = joined({ last: 2 });
  const { network, clock, said } = client;
  const old = await moving(client);
  const next = network.last;
  assert.deepEqual(answer(next, { ...at(42), recovered: true }), { last: 2 });
  next.say(pushed(40, 42));
  answer(old, { ...at(42), recovered: true });
  old.say(pushed(40, 42));
  assert.deepEqual(said, [41, 42, 'resumed 2']);
  await clock.advance(8_000);
  assert.deepEqual(answer(next, { ...at(43), recovered: true }), { since: at(42), away: 5_000 });
  next.say(pushed(42, 43));
  assert.deepEqual(said.slice(3), [43, 'resumed 1']);
  client.push.close();
});

test('a move that ends early loses nothing', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, at(40));
  const old = await moving(client);
  const next = network.last;
  old.say(pushed(40, 41));
  old.end(1012);
  await turn();
  answer(next, { ...at(43), recovered: true });
  next.say(pushed(40, 41));
  next.say(pushed(41, 43));
  assert.deepEqual(said, [41, 42, 43, 'resumed 2']);
  client.push.close();
});

test('a new page goes on where the former one was', async () => {
  const before = joined();
  answer(before.network.last, at(40));
  before.network.last.say(pushed(40, 41));
  const { position } = before.room;
  before.push.close();
  const since = JSON.parse(JSON.stringify(position));
  since.at -= 60_000;
  const client = joined({ since, last: 7 });
  assert.deepEqual(client.room.position, since);
  assert.deepEqual(answer(client.network.last, { ...at(43), recovered: true }), { since: at(41), away: 60_000 });
  client.network.last.say(pushed(41, 43));
  assert.deepEqual(client.said, [42, 43, 'resumed 2']);
  client.push.close();
});

test('how long ago a position was current is said where it is known', () => {
  for (const when of [undefined, 1e15, Number.NaN, Number.NEGATIVE_INFINITY]) {
    const client = joined({ since: { ...at(41), at: when } });
    assert.deepEqual(answer(client.network.last, { ...at(41), recovered: true }), { since: at(41) });
    client.push.close();
  }
});

test('a room may begin with the last pushes of its history', async () => {
  const client = joined({ last: 2 });
  const { network, said } = client;
  assert.deepEqual(answer(network.last, { ...at(40), recovered: true }), { last: 2 });
  assert.equal(client.room.position, undefined);
  const next = await again(client);
  assert.deepEqual(answer(next, { ...at(41), recovered: true }), { last: 2 }, 'nothing has come');
  next.say(pushed(39, 40));
  const third = await again(client);
  assert.deepEqual(answer(third, { ...at(42), recovered: true }), { since: at(40) });
  third.say(pushed(40, 42));
  assert.deepEqual(said, [40, 41, 42, 'resumed 3']);
  client.push.close();
});

test('a room that was live without its history does not begin with the last pushes later', async () => {
  const client = joined({ last: 2 });
  assert.deepEqual(answer(client.network.last, {}), { last: 2 });
  client.network.last.say(pushFrame('r', 'a', 1, 1));
  assert.deepEqual(answer(await again(client), at(40)), {}, 'it has been shown what came');
  client.push.close();
});

test('of an empty history the last pushes are none', () => {
  const client = joined({ last: 2 });
  answer(client.network.last, { ...at(0), recovered: true });
  assert.deepEqual([client.room.position?.epoch, client.room.position?.seq], [at(0).epoch, 0]);
  client.network.last.say(pushed(0, 1));
  assert.deepEqual(client.said, ['resumed 0', 1]);
  client.push.close();
});

test('a room without history notices nothing, and one that loses it says so', async () => {
  const client = joined();
  const { network, said } = client;
  answer(network.last, {});
  network.last.say(pushFrame('r', 'a', 1, 1));
  network.last.say(pushFrame('r', 'a', 1, 3));
  network.last.say(pushFrame('r', 'a', 5, 5));
  assert.equal(client.room.position, undefined);
  assert.deepEqual(answer(await again(client), {}), {});
  assert.equal(said.length, 5);
  assert.equal(said[3], 'gap');
  // A gateway that has it, and then one that has not.
  assert.deepEqual(answer(await again(client), at(40)), {});
  assert.deepEqual(answer(await again(client), {}), { since: at(40), away: 10_000 });
  assert.deepEqual(said.slice(5), ['unrecovered']);
  assert.equal(client.room.position, undefined);
  client.push.close();
});

test('a room whose history ends while it is joined says so once', () => {
  const client = joined();
  answer(client.network.last, at(40));
  client.network.last.say(pushFrame('r', 'a', 1, 1));
  client.network.last.say(pushFrame('r', 'a', 2, 2));
  assert.deepEqual(client.said, ['reset', { p: 'a', n: 1 }, { p: 'a', n: 2 }]);
  client.push.close();
});

test('from a gateway without the history to one that has it a move is as of old, and then the position is known', async () => {
  const client = joined();
  const { network, clock, said } = client;
  const seq = () => client.room.position?.seq;
  answer(network.last, {});
  const old = await moving(client);
  const next = network.last;
  answer(next, at(40));
  next.say(pushFrame('r', 'a', 1, 1, { ...at(41), prev: 40 }));
  old.say(pushFrame('r', 'a', 1, 1));
  assert.deepEqual(said, [{ p: 'a', n: 1 }]);
  await clock.advance(8_000);
  assert.equal(seq(), undefined);
  next.say(pushed(41, 42));
  assert.equal(seq(), 42);
  assert.deepEqual(said.slice(1), [42]);
  client.push.close();
});

test('to a gateway without the history a move loses nothing, and the position is gone', async () => {
  const client = joined();
  const { network, clock, said } = client;
  answer(network.last, at(40));
  const old = await moving(client);
  const next = network.last;
  answer(next, {});
  next.say(pushFrame('r', 'a', 1, 2));
  old.say(pushFrame('r', 'a', 1, 1, { ...at(41), prev: 40 }));
  await clock.advance(8_000);
  assert.deepEqual(answer(next, {}), { since: at(41), away: 5_000 });
  assert.deepEqual(said, [{ p: 'a', n: 1 }, { p: 'a', n: 2 }, 'unrecovered']);
  assert.equal(client.room.position, undefined);
  client.push.close();
});

test('what the ids say counts for rooms without history only', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  // A push that was stored late, and items that a publisher lost.
  client.network.last.say(pushFrame('r', 'a', 5, 5, { ...at(41), prev: 40 }));
  client.network.last.say(pushFrame('r', 'a', 4, 4, { ...at(42), prev: 41 }));
  client.network.last.say(pushFrame('r', 'a', 9, 9, { ...at(43), prev: 42 }));
  assert.deepEqual(
    client.said,
    [5, 4, 9].map((n) => ({ p: 'a', n })),
  );
  client.push.close();
});

test('a room that is joined again goes on from now, and has nothing twice', () => {
  const client = joined();
  const { push, network, said } = client;
  answer(network.last, at(40));
  network.last.say(pushed(40, 42));
  client.room.leave();
  assert.equal(client.room.position?.seq, 42);
  network.last.sent.splice(0);
  const room = push.join<number>('r');
  room.on('item', (item) => said.push(item));
  // This gateway has yet to flush what the former one sent.
  assert.deepEqual(answer(network.last, at(41)), {});
  network.last.say({ type: 'OK', id: 2, data: {} });
  network.last.say(pushed(41, 42));
  network.last.say(pushed(42, 43));
  assert.deepEqual(said, [41, 42, 43]);
  push.close();
});

test('a listener that leaves in the middle of a frame is told no more', async () => {
  const client = joined();
  answer(client.network.last, at(40));
  const next = await again(client);
  answer(next, { ...at(42), recovered: true });
  client.room.on('item', () => client.room.leave());
  next.say(pushed(40, 42));
  assert.deepEqual(client.said, [41]);
  client.push.close();
});

test('what is no position, and a last that is no number, are refused with a sentence, and nothing is sent', () => {
  const { push, network } = joined();
  network.last.ok();
  const odd = [
    5,
    'e',
    [],
    {},
    at(-1),
    at(1.5),
    at(2 ** 53),
    at(Number.NaN),
    { epoch: 'e' },
    { seq: 1 },
    { epoch: 5, seq: 1 },
  ];
  const whole = [
    at(8, ''),
    at(8, 'x'.repeat(129)),
    at(8, 'x'.repeat(4_100)),
    { epoch: 'e', seq: 8n },
    { ...at(8), at: 5n },
  ];
  const times = [
    { ...at(8), at: '5' },
    { ...at(8), at: {} },
    { ...at(8), at: true },
  ];
  for (const since of [...odd, ...whole, ...times])
    assert.throws(() => push.join('other', { since } as unknown as JoinOptions), {
      name: 'TypeError',
      message: 'since must be a position.',
      cause: since,
    });
  for (const last of ['5', 5n, {}, true])
    assert.throws(() => push.join('other', { last } as unknown as JoinOptions), {
      name: 'TypeError',
      message: 'last must be a number.',
    });
  assert.deepEqual(network.last.sent, []);
  assert.equal(push.state, 'open');
  for (const [i, options] of [
    { since: null },
    { last: null },
    { since: undefined, last: undefined },
    { since: at(0, 'x'.repeat(128)) },
    { since: { ...at(8), at: undefined } },
    { since: { ...at(8), at: null } as never },
  ].entries())
    push.join(`other ${i}`, options);
  assert.equal(network.last.sent.length, 6);
  push.close();
});

test('frames without a whole position are not read', () => {
  const { push, network, said } = joined();
  network.last.ok();
  network.last.say({ type: 'RESET', data: { room: 'r', ...at(40) } });
  for (const odd of [
    { epoch: 'e', seq: 41 },
    { epoch: 'e', prev: 40 },
    { epoch: 'e', seq: '41', prev: 40 },
    { epoch: 'e', seq: 41, prev: {} },
    { epoch: 5, seq: 41, prev: 40 },
  ])
    network.last.say({ type: 'PUSH', data: { room: 'r', items: [1], ...odd } });
  for (const odd of [{}, { epoch: 'e' }, { epoch: {}, seq: 1 }, { epoch: 'e', seq: 1.5 }])
    network.last.say({ type: 'RESET', data: { room: 'r', ...odd } });
  assert.deepEqual(said, []);
  assert.equal(push.join('r').position?.seq, 40);
  push.close();
});
