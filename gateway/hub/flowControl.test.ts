import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { roomKey } from '../ipc/channelKey.ts';
import { type HubMessage, missedSize } from '../ipc/messages.ts';
import { FlowControl } from './flowControl.ts';

const [A, B] = [roomKey('a'), roomKey('b')];
const LIMIT = 10_000;
/** Bytes of a batch. */
const SIZE = 4_000;

let sent: (HubMessage | 'frame')[];
let overrun: number;
let flow: FlowControl;

beforeEach(() => {
  sent = [];
  overrun = 0;
  flow = new FlowControl({
    stream: {
      send: (message) => sent.push(message),
      sendFrame: () => {
        sent.push('frame');
        return SIZE;
      },
    },
    maxInFlight: () => LIMIT,
    overrun: (items) => {
      overrun += items;
    },
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

  it('tell losses with their reason while there is room', () => {
    flow.sendMissed(A, 2, 'bus_gap');
    assert.deepEqual(sent, [missed(A, 2, 'bus_gap')]);
    assert.equal(flow.inFlight, missedSize(A));
  });
});
