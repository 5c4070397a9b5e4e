import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { joinItems } from '@pushcluster/protocol/push.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import type { Batch } from './batch.ts';
import { HubChannel } from './hubChannel.ts';
import { Outbox } from './outbox.ts';

const settings = settingsWith();
let clock: FakeClock;
let sent: { room: string | undefined; batch: Batch }[];
let overrun: number;
let failed: unknown[];
/** Milliseconds that a batch takes to be encoded. */
let cost: number;
let outbox: Outbox;

beforeEach(() => {
  clock = new FakeClock();
  sent = [];
  overrun = 0;
  failed = [];
  cost = 3;
  outbox = new Outbox({
    clock,
    send: (channel, batch) => {
      clock.freeze(cost);
      if (batch.items === 13) throw new Error('thirteen');
      sent.push({ room: channel.room, batch });
    },
    overrun: (items) => {
      overrun += items;
    },
    failed: (error) => failed.push(error),
    maxWaiting: 100_000,
  });
});

const channel = (room: string) => new HubChannel(roomKey(room), settings);

function batch(items: number, bytes = items): Batch {
  const list = joinItems(
    Array.from({ length: items }, () => Buffer.alloc(Math.max(1, Math.floor(bytes / items)), '1')),
  );
  const parts = items === 0 ? [] : [{ publisher: 'p', first: 1, at: 0, items: list }];
  return { parts, items, cut: 0, lost: { before: 0, after: 0 }, waited: 0 };
}

describe('the outbox', () => {
  it('sends at once while this turn has time, and the rest in the next turns, in order', () => {
    const rooms = [channel('a'), channel('b')];
    for (let i = 1; i <= 12; i++) outbox.put(rooms[i % 2]!, batch(i));
    assert.equal(sent.length, 3, 'three of 3 ms each begin within 8 ms');
    const slices: number[] = [];
    for (let before = sent.length; clock.turn(); before = sent.length) slices.push(sent.length - before);
    assert.deepEqual(
      sent.map(({ batch }) => batch.items),
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    assert.ok(Math.max(...slices) <= 3, `${slices}`);
    assert.equal(outbox.waiting, 0);
  });

  it('sends nothing of a channel that has ended meanwhile: who listens under its key by then joined later', () => {
    const [a, b] = [channel('a'), channel('b')];
    for (let i = 1; i <= 6; i++) outbox.put(i % 2 ? a : b, batch(i));
    a.ended = true;
    while (clock.turn());
    assert.deepEqual(
      sent.map(({ batch }) => batch.items),
      [1, 2, 3, 4, 6],
    );
  });

  it('lets nothing that comes later overtake what waits', () => {
    const [a, b] = [channel('a'), channel('b')];
    for (let i = 1; i <= 5; i++) outbox.put(a, batch(i));
    clock.freeze(1_000);
    outbox.put(b, batch(6));
    while (clock.turn());
    assert.deepEqual(
      sent.map(({ batch }) => batch.items),
      [1, 2, 3, 4, 5, 6],
    );
  });

  it('begins each turn anew', () => {
    const a = channel('a');
    for (let i = 0; i < 100; i++) {
      outbox.put(a, batch(1));
      clock.turn();
    }
    assert.equal(sent.length, 100);
    assert.equal(outbox.waiting, 0);
  });

  it('holds a limited number of bytes: what is over it is told in its channel’s order, and counted exactly', () => {
    const [a, b] = [channel('a'), channel('b')];
    for (let i = 0; i < 300; i++) outbox.put(i % 2 ? a : b, batch(2, 4_000));
    assert.ok(outbox.waiting < 30, `${outbox.waiting} wait`);
    for (let i = 0; i < 300; i++) {
      clock.turn();
      outbox.put(a, batch(1, 10));
    }
    while (clock.turn());
    const items = sent.reduce((sum, { batch }) => sum + batch.items, 0);
    const cut = sent.reduce((sum, { batch }) => sum + batch.cut, 0);
    assert.ok(cut > 0);
    assert.equal(items + cut, 900);
    assert.equal(overrun, cut);
    // Whatever was left out of a room is told after what came before it, and before what came after.
    const order = sent.filter(({ room }) => room === 'a').map(({ batch }) => (batch.cut > 0 ? 'cut' : batch.items));
    assert.deepEqual(
      order.filter((kind, i) => kind !== order[i - 1]),
      [2, 'cut', 1],
    );
  });

  it('tells as many channels at once as may wait of what was left out, and the others later', () => {
    const many = Array.from({ length: 500 }, (_, i) => channel(`${i}`));
    for (let i = 0; i < 30; i++) outbox.put(many[0]!, batch(2, 4_000));
    for (const one of many) outbox.put(one, batch(1));
    for (let turns = 0; clock.turn(); turns++) assert.ok(turns < 1_000);
    assert.equal(new Set(sent.map(({ room }) => room)).size, 500);
    assert.equal(
      sent.reduce((sum, { batch }) => sum + batch.items + batch.cut, 0),
      560,
    );
    assert.equal(outbox.waiting, 0);
  });

  it('tells of an interruption of a history that was left out', () => {
    const a = channel('a');
    for (let i = 0; i < 300; i++) outbox.put(channel('b'), batch(2, 4_000));
    outbox.put(a, { ...batch(0), reset: { epoch: 'e', seq: 7 } });
    while (clock.turn());
    const told = sent.filter(({ room }) => room === 'a').map(({ batch }) => batch.cut);
    assert.deepEqual(told, [1]);
  });

  it('runs what is to follow on all that waits after that, and before what comes later', () => {
    const a = channel('a');
    const follow = (name: string) => () => sent.push({ room: name, batch: batch(0) });
    outbox.after(follow('at once'));
    for (let i = 1; i <= 5; i++) outbox.put(a, batch(i));
    outbox.after(follow('after five'));
    outbox.after(() => {
      throw new Error('of what follows');
    });
    outbox.put(a, batch(6));
    outbox.after(follow('after six'));
    assert.equal(sent.length, 4);
    while (clock.turn());
    assert.deepEqual(
      sent.map(({ room, batch }) => (room === 'a' ? batch.items : room)),
      ['at once', 1, 2, 3, 4, 5, 'after five', 6, 'after six'],
    );
    assert.equal(failed.length, 1);
  });

  it('goes on after a batch that could not be sent', () => {
    const a = channel('a');
    for (const items of [12, 13, 14, 15, 13, 16]) outbox.put(a, batch(items));
    while (clock.turn());
    assert.deepEqual(
      sent.map(({ batch }) => batch.items),
      [12, 14, 15, 16],
    );
    assert.equal(failed.length, 2);
  });
});
