import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { roomKey } from '../ipc/channelKey.ts';
import { type HubMessage, missedSize } from '../ipc/messages.ts';
import { FlowControl } from './flowControl.ts';
import { SlicedWork } from './slicedWork.ts';

const [A, B] = [roomKey('a'), roomKey('b')];
const LIMIT = 10_000;
/** Bytes of a batch. */
const SIZE = 4_000;

let sent: (HubMessage | 'frame')[];
let overrun: number;
let flow: FlowControl;
let clock: FakeClock;
/** Milliseconds that a message takes to be sent. */
let cost: number;

beforeEach(() => {
  clock = new FakeClock();
  cost = 0;
  sent = [];
  overrun = 0;
  flow = new FlowControl({
    stream: {
      send: (message) => {
        clock.freeze(cost);
        sent.push(message);
      },
      sendFrame: () => {
        sent.push('frame');
        return SIZE;
      },
    },
    maxInFlight: () => LIMIT,
    overrun: (items) => {
      overrun += items;
    },
    work: new SlicedWork({ clock, failed: (error) => assert.fail(String(error)) }),
  });
});

const missed = (key: typeof A, items: number, reason = 'overload') => ({ type: 'missed', key, items, reason });

describe('frames on their way to a shard', () => {
  it('are bounded: batches over it are left out and counted, and told once half of it has arrived', () => {
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    assert.equal(flow.inFlight, 3 * SIZE);
    flow.sendFrames(A, 5, [], []);
    flow.sendMissed(A, 2, 'bus_gap');
    flow.sendFrames(B, 7, [], []);
    assert.equal(overrun, 12);
    assert.deepEqual(sent, ['frame', 'frame', 'frame']);
    flow.done(SIZE);
    assert.equal(sent.length, 3, 'more than half is on its way');
    flow.done(SIZE);
    assert.deepEqual(sent.slice(3), [missed(A, 7), missed(B, 7)]);
    assert.equal(flow.inFlight, SIZE + missedSize(A) + missedSize(B));
  });

  it('of a channel that was left out stay out until that is told, so that the notice is in its place', () => {
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    flow.sendFrames(B, 1, [], []);
    flow.done(SIZE);
    flow.sendFrames(B, 2, [], []);
    flow.sendFrames(A, 1, [], []);
    assert.deepEqual(sent, ['frame', 'frame', 'frame', 'frame']);
    flow.done(2 * SIZE);
    flow.sendFrames(B, 4, [], []);
    assert.deepEqual(sent.slice(4), [missed(B, 3), 'frame']);
    assert.equal(overrun, 3);
  });

  it('that were left out are told before the answer to a member, who has them with it', () => {
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    flow.sendFrames(A, 5, [], []);
    flow.sendFrames(B, 7, [], []);
    flow.sendResumed(A, 1, { type: 'none' });
    flow.done(3 * SIZE);
    const kinds = sent.slice(3).map((message) => (message === 'frame' ? message : message.type));
    assert.deepEqual(kinds, ['missed', 'resumed', 'missed']);
    assert.deepEqual([sent[3], sent[5]], [missed(A, 5), missed(B, 7)]);
  });

  it('that were left out of many channels are told in slices, each in its channel’s order', () => {
    const rooms = Array.from({ length: 20 }, (_, i) => roomKey(`${i}`));
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    for (const room of rooms) flow.sendFrames(room, 1, [], []);
    sent = [];
    cost = 3;
    flow.done(3 * SIZE);
    assert.deepEqual(
      sent,
      rooms.slice(0, 3).map((room) => missed(room, 1)),
    );
    // One was told of, and goes on. One is still to be.
    flow.sendFrames(rooms[0]!, 1, [], []);
    flow.sendFrames(rooms[19]!, 5, [], []);
    flow.done(SIZE);
    const slices: number[] = [];
    for (let before = sent.length; clock.turn(); before = sent.length) slices.push(sent.length - before);
    assert.ok(Math.max(...slices) <= 3, `${slices}`);
    assert.deepEqual(sent[3], 'frame');
    assert.deepEqual(
      sent.slice(4),
      rooms.slice(3).map((room, i) => missed(room, i === 16 ? 6 : 1)),
    );
  });

  it('that are left out again while others are told are told later', () => {
    const rooms = Array.from({ length: 6 }, (_, i) => roomKey(`${i}`));
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    for (const room of rooms) flow.sendFrames(room, 1, [], []);
    cost = 3;
    flow.done(3 * SIZE);
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    flow.sendFrames(rooms[0]!, 2, [], []);
    while (clock.turn());
    assert.equal(sent.filter((message) => message !== 'frame').length, 3, 'there is no room for more');
    flow.done(3 * SIZE);
    while (clock.turn());
    assert.deepEqual(sent.slice(-4), [...rooms.slice(3).map((room) => missed(room, 1)), missed(rooms[0]!, 2)]);
  });

  it('to a process that is gone are told no more', () => {
    const rooms = Array.from({ length: 6 }, (_, i) => roomKey(`${i}`));
    for (let i = 0; i < 3; i++) flow.sendFrames(A, 1, [], []);
    for (const room of rooms) flow.sendFrames(room, 1, [], []);
    cost = 3;
    flow.done(3 * SIZE);
    flow.close();
    while (clock.turn());
    assert.equal(sent.length, 6);
  });

  it('tell losses with their reason while there is room', () => {
    flow.sendMissed(A, 2, 'bus_gap');
    assert.deepEqual(sent, [missed(A, 2, 'bus_gap')]);
    assert.equal(flow.inFlight, missedSize(A));
  });
});
