import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import fc from 'fast-check';
import { ALL, roomKey, userKey } from '../ipc/channelKey.ts';
import { formsAt, formsOf, ListenerTable } from './listenerTable.ts';

const KEYS = [ALL, roomKey('a'), roomKey('b'), userKey('a')];
const SHARDS = [0, 1, 2, 3, 100, 254, 255];

describe('the table of listeners', () => {
  it('has for each channel the forms of each shard and those of all', () => {
    const table = new ListenerTable();
    assert.equal(table.of(ALL), undefined);
    table.set(ALL, 2, Form.v1);
    table.set(ALL, 0, Form.plain | Form.v1);
    const listeners = table.of(ALL)!;
    assert.equal(formsOf(listeners), Form.plain | Form.v1);
    assert.deepEqual(
      [0, 1, 2, 255].map((shard) => formsAt(listeners, shard)),
      [Form.plain | Form.v1, 0, Form.v1, 0],
    );
  });

  it('keeps a channel with listeners on up to four shards as one number, and none that has no listener', () => {
    const table = new ListenerTable();
    const user = userKey('u');
    for (const shard of [255, 254, 253, 252]) table.set(user, shard, 7);
    assert.equal(typeof table.of(user), 'number');
    assert.deepEqual(
      [251, 252, 253, 254, 255].map((shard) => formsAt(table.of(user)!, shard)),
      [0, 7, 7, 7, 7],
    );
    table.set(user, 0, 1);
    assert.equal(typeof table.of(user), 'object');
    for (const shard of [252, 253, 254, 255]) table.set(user, shard, 0);
    assert.equal(table.of(user), 1);
    table.set(user, 0, 0);
    assert.equal(table.has(user), false);
  });

  it('removes what a shard had step by step, and keeps what its next process sets meanwhile', () => {
    const table = new ListenerTable();
    const rooms = Array.from({ length: 6 }, (_, i) => roomKey(`${i}`));
    for (const room of rooms) table.set(room, 0, Form.plain);
    table.set(rooms[1]!, 1, Form.v1);
    const removal = table.removeShard(0);
    assert.equal(removal.next().value, rooms[0]);
    table.set(rooms[0]!, 0, Form.v1);
    table.set(rooms[2]!, 0, Form.plain | Form.v1);
    table.set(rooms[3]!, 0, Form.v1);
    table.set(rooms[3]!, 0, 0);
    table.set(rooms[4]!, 1, Form.v1);
    assert.deepEqual(
      rooms.map((room) => table.isGone(room, 0)),
      [false, true, false, false, true, true],
    );
    assert.deepEqual(
      [...removal].filter((key) => key !== undefined),
      [rooms[1], rooms[4], rooms[5]],
    );
    assert.deepEqual(
      rooms.map((room) => [0, 1].map((shard) => formsAt(table.of(room) ?? 0, shard))),
      [
        [Form.v1, 0],
        [0, Form.v1],
        [Form.plain | Form.v1, 0],
        [0, 0],
        [0, Form.v1],
        [0, 0],
      ],
    );
    assert.equal(table.rooms, 4);
    assert.ok(!rooms.some((room) => table.isGone(room, 0)));
  });

  it('forgets what a process had that died while what the one before it had was being removed', () => {
    const table = new ListenerTable();
    const [a, b, c] = [roomKey('a'), roomKey('b'), roomKey('c')] as const;
    for (const room of [a, b]) table.set(room, 0, Form.plain);
    const first = table.removeShard(0);
    first.next();
    table.set(a, 0, Form.v1);
    table.set(c, 0, Form.v1);
    const second = table.removeShard(0);
    table.set(b, 0, Form.v1);
    assert.deepEqual([...first], []);
    assert.deepEqual(
      [...second].filter((key) => key !== undefined),
      [a, c],
    );
    assert.deepEqual(
      [a, b, c].map((room) => table.of(room)),
      [undefined, Form.v1, undefined],
    );
  });

  it('says what a plain table of shards and channels says, whatever happens', () => {
    const step = fc.oneof(
      {
        weight: 10,
        arbitrary: fc.record({ key: fc.constantFrom(...KEYS), shard: fc.constantFrom(...SHARDS), mask: fc.nat(7) }),
      },
      { weight: 1, arbitrary: fc.record({ lost: fc.constantFrom(...SHARDS) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new ListenerTable();
        const model = new Map(SHARDS.map((shard) => [shard, new Map(KEYS.map((key) => [key, 0]))]));
        for (const step of steps) {
          if ('lost' in step) {
            const had = KEYS.filter((key) => model.get(step.lost)!.get(key) !== 0);
            const removed = [...table.removeShard(step.lost)].filter((key) => key !== undefined);
            assert.deepEqual(removed.sort(), had.sort());
            for (const key of KEYS) model.get(step.lost)!.set(key, 0);
          } else {
            table.set(step.key, step.shard, step.mask);
            model.get(step.shard)!.set(step.key, step.mask);
          }
          for (const key of KEYS) {
            const masks = SHARDS.map((shard) => model.get(shard)!.get(key)!);
            const listeners = table.of(key);
            assert.equal(listeners === undefined, Math.max(...masks) === 0);
            assert.equal(table.has(key), listeners !== undefined);
            if (listeners === undefined) continue;
            assert.equal(
              formsOf(listeners),
              masks.reduce((all, mask) => all | mask, 0),
            );
            assert.deepEqual(
              SHARDS.map((shard) => formsAt(listeners, shard)),
              masks,
            );
          }
          const rooms = [roomKey('a'), roomKey('b')].filter((key) => table.has(key));
          assert.equal(table.rooms, rooms.length);
        }
      }),
      { numRuns: 300 },
    );
  });
});
