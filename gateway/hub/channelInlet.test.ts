import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import {
  clock,
  counted,
  forms,
  held,
  plainItems,
  publish,
  ROOM,
  settled,
  shards,
  start,
  subjects,
  VERSION_1,
} from '../simulation/startedHub.ts';
import { LATE_MS } from './resequencer.ts';

beforeEach(() => start());

describe('what was lost or repeated', () => {
  it('is told where a publisher’s counter jumps, before what follows, to the shards that have the room', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['5'], { counter: 5 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 3, reason: 'bus_gap' }]);
    assert.deepEqual(shards[0]!.order, ['frames', 'missed', 'frames']);
    assert.deepEqual(shards[1]!.missed, []);
    assert.equal(await counted('gaps_total'), 3);
  });

  it('is not told where it comes late: it is put in its place', async () => {
    forms(shards[0]!, ROOM, Form.plain | Form.v1);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['4', '5'], { counter: 4 });
    await publish(subjects.room('r'), ['6']);
    clock.advance(LATE_MS - 1);
    await publish(subjects.room('r'), ['2', '3'], { counter: 2 });
    clock.advance(2_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(shards[0]!.missed, []);
    assert.equal(await counted('gaps_total'), 0);
    assert.equal(await counted('late_items_total'), 2);
  });

  it('is told after what is still merged, which came before it', async () => {
    start(settingsWith({ gateway: { batching: { adaptive: false } } }));
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    clock.advance(100);
    await publish(subjects.room('r'), ['2'], { counter: 2 });
    await publish(subjects.room('r'), ['6'], { counter: 6 });
    assert.deepEqual(shards[0]!.order, ['frames'], 'no frame more for it than without');
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.order, ['frames', 'frames', 'missed']);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 3, reason: 'bus_gap' }]);
  });

  it('is told however early the timer comes that was set for it', async () => {
    const after = clock.after.bind(clock);
    clock.after = (ms, run) => after(ms > 1 ? ms - 0.5 : ms, run);
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), [], { counter: 3 });
    await publish(subjects.room('r'), [], { counter: 6 });
    clock.advance(2_000);
    assert.deepEqual(
      shards[0]!.missed.map(({ items }) => items).reduce((sum, items) => sum + items, 0),
      4,
    );
    assert.equal(clock.timers, 0);
  });

  it('is told where what reveals it is a retry that goes no further', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    clock.advance(5_000);
    await publish(subjects.room('r'), ['1'], { id: 'k', counter: 4 });
    clock.advance(LATE_MS + 1);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 2, reason: 'bus_gap' }]);
    assert.equal(clock.timers, 0);
  });

  it('is told of a publisher that began after the room was opened, from its first item on', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await settled();
    await publish(subjects.beat, [], { publisher: 'q', counter: 5 });
    await publish(subjects.room('r'), ['4'], { publisher: 'q', counter: 4, beat: 6 });
    assert.deepEqual(shards[0]!.missed, [], 'whether it began before, nobody knew then');
    clock.advance(2_500);
    await publish(subjects.beat, [], { publisher: 'q', counter: 8 });
    const [late, later] = [roomKey('late'), roomKey('later')];
    for (const key of [late, later]) forms(shards[0]!, key, Form.v1);
    await settled();
    await publish(subjects.room('late'), ['4'], { publisher: 'q', counter: 4, beat: 9 });
    await publish(subjects.room('later'), ['4'], { publisher: 'q', counter: 4, beat: 8 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: late, items: 3, reason: 'bus_gap' }]);
  });

  it('is told within a second where it was the last of its room: its publisher says how far it counted', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { counter: 1 });
    await publish(subjects.room('r'), [], { counter: 3 });
    clock.advance(1_000);
    await publish(subjects.room('r'), [], { counter: 3 });
    clock.advance(1_000);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 1, reason: 'bus_gap' }]);
    assert.equal(shards[0]!.batches.length, 1);
    assert.equal(await counted('gaps_total'), 1);
  });

  it('that goes no further, since it is a retry, is named to those who look for gaps', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('r'), ['1', '2'], { id: 'k' });
    await publish(subjects.room('r'), ['3']);
    clock.advance(1_000);
    const texts = shards[0]!.batches.map(({ frames }) => frames[0]?.bytes.toString());
    assert.deepEqual(texts, [
      '{"type":"PUSH","data":{"room":"r","ids":[["p",1,1]],"items":[1]}}',
      '{"type":"PUSH","data":{"room":"r","ids":[["p",2,0,2],["p",4,1]],"items":[3]}}',
    ]);
    assert.deepEqual(shards[0]!.missed, []);
  });

  it('may come again on another gateway: what was pushed with an id carries what tells that', async () => {
    forms(shards[0]!, ROOM, Form.v1);
    await publish(subjects.room('r'), ['1', '2'], { id: 'abcdefghijklmnopqrstuv/0' });
    await publish(subjects.room('r'), ['3'], { id: 'abcdefghijklmnopqrstuv/12' });
    await publish(subjects.room('r'), ['4'], { id: 'a former version’s "id"/0' });
    clock.advance(1_000);
    const ids = shards[0]!.batches.flatMap(({ frames }) => JSON.parse(`${frames[0]?.bytes}`).data.ids);
    assert.deepEqual(ids, [
      ['p', 1, 2, 'abcdefghij'],
      ['p', 3, 1, 'abcdefghij.12'],
      ['p', 4, 1],
    ]);
  });

  it('is dropped where it comes again, whole or in part', async () => {
    forms(shards[0]!, ROOM, Form.plain | Form.v1);
    await publish(subjects.room('r'), ['1', '2'], { counter: 1 });
    await publish(subjects.room('r'), ['1', '2'], { counter: 1 });
    await publish(subjects.room('r'), ['2', '3', '4'], { counter: 2 });
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4]);
    const last = shards[0]!.batches.at(-1)?.frames.find(({ form }) => form === Form.v1);
    assert.match(last?.bytes.toString() ?? '', /"ids":\[\["p",3,2\]\]/);
    assert.deepEqual(shards[0]!.missed, []);
  });

  it('is dropped where a retry with the same id comes from another publisher, for two minutes', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    clock.advance(119_999);
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1]);
    assert.equal(await counted('push_retries_dropped_total'), 2);
    clock.advance(1);
    await publish(subjects.room('r'), ['1'], { id: 'k', publisher: 'q' });
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 1]);
    assert.deepEqual(shards[0]!.missed, [], 'a retry that was dropped is no gap');
  });

  it('is known by its target too: the same id in another room is another push', async () => {
    const other = roomKey('s');
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, other, Form.plain);
    forms(shards[0]!, ALL, Form.plain);
    await publish(subjects.room('r'), ['1'], { id: 'k' });
    await publish(subjects.room('s'), ['2'], { id: 'k' });
    await publish(subjects.all, ['3'], { id: 'k' });
    assert.deepEqual(
      [plainItems(shards[0]!, ROOM), plainItems(shards[0]!, other), plainItems(shards[0]!, ALL)],
      [[1], [2], [3]],
    );
  });

  it('is no retry where names and ids only look alike when they are written after each other', async () => {
    const [short, long] = [roomKey('a'), roomKey('a\nb')];
    for (const key of [short, long]) forms(shards[0]!, key, Form.plain);
    await publish(subjects.room('a\nb'), ['1'], { id: 'c' });
    await publish(subjects.room('a'), ['2'], { id: 'b\nc' });
    assert.deepEqual([plainItems(shards[0]!, long), plainItems(shards[0]!, short)], [[1], [2]]);
  });

  it('by a room’s overload policy is told before the frame that it was cut from', async () => {
    start(settingsWith({ rooms: [{ match: 'r', overload: { maxRate: 3, policy: 'dropNewest' } }] }));
    forms(shards[0]!, ROOM, Form.plain);
    for (let i = 1; i <= 10; i++) await publish(subjects.room('r'), [`${i}`]);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3]);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 7, reason: 'overload' }]);
    assert.deepEqual(shards[0]!.order, ['frames', 'missed', 'frames']);
  });

  it('as garbage on the bus is counted and harms nothing', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    const garbage = [Buffer.of(), Buffer.of(0), Buffer.from('hello'), Buffer.from(`${VERSION_1.slice(0, -2)}`, 'hex')];
    for (const subject of [subjects.room('r'), subjects.all, subjects.user, subjects.command])
      for (const bytes of garbage) held.local.publish(subject, bytes);
    held.local.publish(subjects.session, Buffer.from('{"user":1}'));
    await settled();
    assert.equal(await counted('bus_messages_ignored_total'), 16);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1]);
  });
});
