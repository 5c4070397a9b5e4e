import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { joinItems } from '@pushcluster/protocol/push.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { Registry } from 'prom-client';
import { roomKey, userKey } from '../ipc/channelKey.ts';
import { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import { FakeShard } from '../simulation/hub.ts';
import { NO_READINGS } from '../simulation/readings.ts';
import type { Batch } from './batch.ts';
import { BatchSender } from './batchSender.ts';
import { ListenerTable } from './listenerTable.ts';
import type { MessagePart } from './messagePart.ts';

const ROOM = roomKey('r');

/** A message with `count` items that logic accepted `at` this time. */
function part(first: number, at: number, count: number): MessagePart {
  return { publisher: 'p', first, at, items: joinItems(Array.from({ length: count }, () => Buffer.from('1'))) };
}

function batchOf(parts: MessagePart[], losses: Partial<Pick<Batch, 'cut' | 'lost'>> = {}): Batch {
  const items = parts.reduce((sum, { items: { lengths } }) => sum + lengths.length, 0);
  return { parts, items, cut: 0, lost: { before: 0, after: 0 }, waited: 0, ...losses };
}

describe('a sender of batches', () => {
  let shards: FakeShard[];
  let listeners: ListenerTable;
  let metrics: GatewayMetrics;
  let sender: BatchSender;

  beforeEach(() => {
    shards = [new FakeShard(0), new FakeShard(1)];
    listeners = new ListenerTable();
    metrics = new GatewayMetrics(new Registry(), NO_READINGS);
    sender = new BatchSender({ listeners, shards: () => shards, metrics });
  });

  it('sends to the shards that have a listener, each the forms of its listeners', () => {
    listeners.set(ROOM, 0, Form.plain);
    listeners.set(ROOM, 1, Form.plain | Form.v1);
    sender.send(ROOM, batchOf([part(1, 0, 1)]));
    assert.deepEqual(
      shards.map(({ batches }) => batches.map(({ frames }) => frames.map(({ form }) => form))),
      [[[Form.plain]], [[Form.plain, Form.v1]]],
    );
    listeners.set(ROOM, 0, 0);
    sender.send(ROOM, batchOf([part(2, 0, 1)]));
    assert.deepEqual(
      shards.map(({ batches }) => batches.length),
      [1, 2],
    );
  });

  it('counts the frames that somebody gets, and no other', async () => {
    const counted = async () =>
      (await metrics.batchItems.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value;
    sender.send(ROOM, batchOf([part(1, 0, 1)]));
    assert.equal(await counted(), 0);
    listeners.set(ROOM, 0, Form.plain);
    sender.send(ROOM, batchOf([part(2, 0, 1)]));
    assert.equal(await counted(), 1);
  });

  it('notifies of what was lost before the frame and after it in this order, also without a frame', () => {
    listeners.set(ROOM, 0, Form.v1);
    sender.send(ROOM, batchOf([part(1, 0, 1)], { cut: 3, lost: { before: 4, after: 5 } }));
    const [shard] = shards;
    assert.deepEqual(
      shard?.missed.map(({ items, reason }) => [items, reason]),
      [
        [3, 'overload'],
        [4, 'bus_gap'],
        [5, 'bus_gap'],
      ],
    );
    assert.deepEqual(shard?.order, ['missed', 'missed', 'frames', 'missed']);
    sender.send(ROOM, batchOf([], { cut: 6 }));
    assert.equal(shard?.batches.length, 1);
    assert.equal(shard?.missed.at(-1)?.items, 6);
  });

  it('counts items of the same moment together, in at most 64 pairs that have all items', () => {
    listeners.set(ROOM, 0, Form.v1);
    sender.send(ROOM, batchOf([part(1, 10, 2), part(3, 10, 1), part(4, 11, 1)]));
    assert.deepEqual(shards[0]?.batches[0]?.ages, [
      [10, 3],
      [11, 1],
    ]);
    sender.send(ROOM, batchOf(Array.from({ length: 1_000 }, (_, i) => part(1 + 2 * i, i, 2))));
    const ages = shards[0]?.batches[1]?.ages ?? [];
    assert.ok(ages.length <= 64, `${ages.length} pairs`);
    assert.equal(
      ages.reduce((sum, [, items]) => sum + items, 0),
      2_000,
    );
  });

  it('sends the same buffers to all users of a push, and encodes only the forms that those before did not need', () => {
    const [first, second] = [userKey('a'), userKey('b')];
    listeners.set(first, 0, Form.plain);
    listeners.set(second, 0, Form.plain | Form.v1);
    const push = part(1, 0, 2);
    sender.send(first, batchOf([push]));
    sender.send(second, batchOf([{ ...push }]));
    sender.send(second, batchOf([part(3, 0, 2)]));
    const [a, b, next] = (shards[0]?.batches ?? []).map(({ frames }) => frames);
    const plain = b?.find(({ form }) => form === Form.plain);
    assert.equal(plain?.bytes, a?.[0]?.bytes);
    assert.deepEqual(b?.map(({ form }) => form).sort(), [Form.plain, Form.v1]);
    assert.notEqual(next?.find(({ form }) => form === Form.plain)?.bytes, plain?.bytes, 'another push');
  });
});
