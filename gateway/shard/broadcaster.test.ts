import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { newCounts } from '../ipc/counts.ts';
import { FakeLoop, FakeSocket, NO_BACKLOG } from '../simulation/shard.ts';
import { Broadcaster } from './broadcaster.ts';
import { Channel } from './channel.ts';
import type { SendTask } from './channelTask.ts';
import { Connection, Member } from './connection.ts';

const SLICE_MS = 8;
const STRIDE = 64;

let loop: FakeLoop;
let counts: ReturnType<typeof newCounts>;
let broadcaster: Broadcaster;
let done: number[];
let dropped: Connection[];
let idle: Channel<Member>[];
/** Who was sent to, in order: the names of the rooms. */
let order: string[];

beforeEach(() => {
  loop = new FakeLoop();
  counts = newCounts();
  done = [];
  dropped = [];
  idle = [];
  order = [];
  broadcaster = new Broadcaster(
    counts,
    {
      done: (size) => done.push(size),
      queued: () => {},
      dropped: (connection) => dropped.push(connection),
      idle: (channel) => idle.push(channel),
    },
    loop,
  );
});

/** A room of `size` members, each send to which takes `ms`. */
function room(
  name: string,
  size: number,
  ms = 0,
  form: Form = Form.v1,
): { channel: Channel<Member>; sockets: FakeSocket[] } {
  const channel = new Channel<Member>(roomKey(name));
  const sockets = Array.from({ length: size }, (_, i) => {
    const socket = new FakeSocket();
    socket.onSend = () => {
      loop.time += ms;
      order.push(name);
    };
    const member = new Member(channel);
    member.connection = new Connection(i, socket, form, new Channel<Member>(ALL), undefined, NO_BACKLOG);
    member.connection.members.push(member);
    channel.group(form).add(member);
    return socket;
  });
  return { channel, sockets };
}

function task(text: string, { items = 1, size = 10, ages = [] as [number, number][] } = {}): SendTask {
  const frame = { bytes: Buffer.from(text), binary: false };
  return { type: 'send', items, frames: [frame, frame, frame], ages, size };
}

describe('a broadcast', () => {
  it('goes to every member once, in a later turn of the loop', () => {
    const { channel, sockets } = room('r', 200);
    broadcaster.push(channel, task('hello'));
    assert.ok(sockets.every(({ sent }) => sent.length === 0));
    loop.idle();
    assert.ok(sockets.every(({ texts }) => texts.length === 1 && texts[0] === 'hello'));
    assert.deepEqual(done, [10]);
    assert.deepEqual(idle, [channel]);
  });

  it('keeps the order of a room', () => {
    const { channel, sockets } = room('r', 3);
    for (const text of ['a', 'b', 'c']) broadcaster.push(channel, task(text));
    loop.turn();
    broadcaster.push(channel, task('d'));
    loop.idle();
    for (const { texts } of sockets) assert.deepEqual(texts, ['a', 'b', 'c', 'd']);
  });

  it('is cut into slices: between them the loop has its turn', () => {
    const { channel, sockets } = room('r', 1_000, 0.1);
    broadcaster.push(channel, task('hello'));
    const slices: number[] = [];
    for (let before = 0; loop.turn(); before = order.length) slices.push(order.length - before);
    // 80 sends take 8 ms; the clock is read at each stride.
    assert.ok(
      slices.every((sends) => sends <= 80 + STRIDE),
      `slices of ${slices}`,
    );
    assert.ok(slices.length >= 1_000 / (80 + STRIDE));
    assert.ok(sockets.every(({ sent }) => sent.length === 1));
    assert.deepEqual(done, [10], 'done once, when it has reached everyone');
  });

  it('of one room does not keep another waiting for more than a slice', () => {
    const big = room('big', 2_000, 0.1);
    const small = room('small', 5, 0.1);
    broadcaster.push(big.channel, task('hello'));
    loop.turn();
    broadcaster.push(small.channel, task('hi'));
    loop.turn();
    loop.turn();
    assert.equal(order.filter((name) => name === 'small').length, 5);
    assert.ok(order.length < 500);
    loop.idle();
    assert.equal(order.length, 2_005);
  });

  it('of a small room leaves at once, and behind what waits', () => {
    const small = room('small', 5, 0.1);
    broadcaster.push(small.channel, task('first'));
    assert.equal(order.length, 5, 'it waits for no turn of the loop');
    assert.deepEqual(done, [10]);
    const big = room('big', 1_000, 0.1);
    broadcaster.push(big.channel, task('hello'));
    broadcaster.push(small.channel, task('second'));
    assert.equal(order.length, 5);
    loop.idle();
    assert.deepEqual(small.sockets[0]!.texts, ['first', 'second']);
  });

  it('serves big rooms in turn', () => {
    const rooms = ['a', 'b', 'c'].map((name) => room(name, 1_000, 0.1));
    for (const { channel } of rooms) broadcaster.push(channel, task('hello'));
    for (let i = 0; i < 6; i++) loop.turn();
    const sent = ['a', 'b', 'c'].map((name) => order.filter((other) => other === name).length);
    assert.ok(Math.max(...sent) - Math.min(...sent) <= 2 * (80 + STRIDE), `${sent}`);
  });

  it('of a thousand tasks in a tiny room leaves the loop its turns too', () => {
    const { channel } = room('tiny', 1, 0.1);
    for (let i = 0; i < 1_000; i++) broadcaster.push(channel, task(`${i}`));
    loop.turn();
    assert.ok(order.length <= 2 * (SLICE_MS / 0.1), `${order.length} sends in one turn`);
    loop.idle();
    assert.equal(order.length, 1_000);
    assert.equal(done.length, 1_000);
  });

  it('is not for those who join while it is under way, and is for those who join before it begins', () => {
    const { channel, sockets } = room('r', 300, 0.1);
    broadcaster.push(channel, task('first'));
    loop.turn();
    const late = new FakeSocket();
    const member = new Member(channel);
    member.connection = new Connection(9_999, late, Form.v1, new Channel<Member>(ALL), undefined, NO_BACKLOG);
    channel.group(Form.v1).add(member);
    broadcaster.push(channel, task('second'));
    loop.idle();
    assert.deepEqual(late.texts, ['second']);
    assert.deepEqual(sockets[0]!.texts, ['first', 'second']);
  });

  it('passes over a form that has no frame, and counts it as done', () => {
    const { channel, sockets } = room('r', 3, 0, Form.plain);
    broadcaster.push(channel, {
      ...task('x'),
      frames: [undefined, { bytes: Buffer.from('x'), binary: false }, undefined],
    });
    loop.idle();
    assert.ok(sockets.every(({ sent }) => sent.length === 0));
    assert.deepEqual(done, [10]);
    assert.equal(channel.position, 1);
  });

  it('says nothing of being done where nothing is owed', () => {
    const { channel } = room('r', 1);
    broadcaster.push(channel, task('x', { size: 0 }));
    loop.idle();
    assert.deepEqual(done, []);
  });

  it('marks a socket at its first drop and skips it from there', () => {
    const { channel, sockets } = room('r', 1);
    const slow = new FakeSocket(1);
    slow.reading = false;
    let sends = 0;
    slow.onSend = () => sends++;
    const member = new Member(channel);
    member.connection = new Connection(1, slow, Form.v1, new Channel<Member>(ALL), undefined, NO_BACKLOG);
    member.connection.members.push(member);
    channel.group(Form.v1).add(member);
    for (let i = 0; i < 5; i++) broadcaster.push(channel, task(`${i}`, { items: 2 }));
    loop.idle();
    assert.deepEqual(slow.texts, ['0']);
    assert.equal(sends, 2, 'one was queued, one dropped, the rest not tried');
    assert.deepEqual(dropped, [member.connection]);
    assert.equal(sockets[0]!.sent.length, 5);
    assert.equal(counts.dropped.slow, 8);
    assert.equal(counts.messagesDelivered, 12);
  });
});

describe('what a broadcast counts', () => {
  it('is frames, items, and bytes with the frame header', () => {
    const { channel } = room('r', 3);
    for (const length of [10, 125, 126, 65_535, 65_536])
      broadcaster.push(channel, task('x'.repeat(length), { items: 4 }));
    loop.idle();
    assert.equal(counts.framesSent, 15);
    assert.equal(counts.messagesDelivered, 60);
    assert.equal(counts.bytesSent, 3 * (12 + 127 + 130 + 65_539 + 65_546));
  });

  it('is the latency of each item and connection', (t) => {
    const { channel } = room('r', 3);
    const now = Date.now();
    t.mock.method(Date, 'now', () => now);
    broadcaster.push(
      channel,
      task('x', {
        items: 5,
        ages: [
          [now - 600, 4],
          [now + 5_000, 1],
        ],
      }),
    );
    loop.idle();
    assert.equal(
      counts.latency.reduce((sum, count) => sum + count, 0),
      15,
    );
    // 0.6 s lies in the bucket up to 0.75; what seems to come from the future has no latency.
    assert.equal(counts.latency[9], 12);
    assert.equal(counts.latency[0], 3);
    assert.ok(counts.latencySum >= 12 * 0.6 && counts.latencySum < 12 * 0.75);
  });

  it('is the latency by the clock as it is set now: one that was stepped counts wrong only what was under way', (t) => {
    const { channel } = room('r', 3);
    const step = 3_600_000;
    const now = Date.now();
    t.mock.method(Date, 'now', () => now + step);
    broadcaster.push(channel, task('x', { items: 1, ages: [[now - 600, 1]] }));
    loop.idle();
    assert.equal(counts.latency.at(-1), 3, 'an hour late');
    broadcaster.push(channel, task('x', { items: 1, ages: [[now + step - 600, 1]] }));
    loop.idle();
    assert.equal(counts.latency[9], 3);
  });

  it('is not the news of missed items', () => {
    const { channel, sockets } = room('r', 3);
    broadcaster.push(channel, { ...task('LAGGED', { items: 7, size: 0 }), missed: 'bus_gap' });
    loop.idle();
    assert.ok(sockets.every(({ texts }) => texts[0] === 'LAGGED'));
    assert.equal(counts.messagesDelivered, 0);
    assert.equal(counts.dropped.slow, 0);
    assert.equal(channel.position, 7);
  });
});
