import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL, roomKey, userKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import {
  clock,
  command,
  counted,
  forms,
  held,
  hub,
  plainItems,
  publish,
  publishToUsers,
  ROOM,
  settled,
  shards,
  start,
  subjects,
  VERSION_1,
} from '../simulation/startedHub.ts';
import { LATE_MS } from './resequencer.ts';

beforeEach(() => start());

describe('a push', () => {
  it('reaches every shard as the same buffers, encoded once for each form that has a listener', async () => {
    start(settingsWith(), 4);
    const masks = [Form.plain | Form.v1, Form.plain, Form.v1 | Form.plain, 0];
    for (const [i, mask] of masks.entries()) if (mask) forms(shards[i]!, ROOM, mask);
    await publish(subjects.room('r'), ['{"n":1}', 'not json, and not looked at']);
    const [first, second, third, none] = shards.map(({ batches }) => batches[0]);
    assert.equal(none, undefined);
    const bytes = (batch: typeof first, form: Form) => batch?.frames.find((frame) => frame.form === form)?.bytes;
    const plain = bytes(first, Form.plain);
    assert.ok(plain);
    assert.equal(bytes(second, Form.plain), plain, 'another buffer');
    assert.equal(bytes(third, Form.plain), plain, 'another buffer');
    assert.equal(bytes(third, Form.v1), bytes(first, Form.v1), 'another buffer');
    assert.deepEqual(
      second?.frames.map(({ form }) => form),
      [Form.plain],
    );
    assert.equal(first?.frames.length, 2, 'deflate has no listener');
    assert.ok(plain.toString().endsWith('"items":[{"n":1},not json, and not looked at]}}'));
  });

  it('is deflated once for all shards', async () => {
    for (const shard of shards) forms(shard, ROOM, Form.deflate);
    await publish(subjects.room('r'), [`"${'x'.repeat(500)}"`]);
    const [first, second] = shards.map(({ batches }) => batches[0]?.frames[0]);
    assert.equal(first?.bytes, second?.bytes);
    assert.equal(first?.binary, true);
    assert.match(inflateRawSync(first.bytes).toString(), /^\{"type":"PUSH","data":\{"room":"r","ids":\[\["p",1,1\]\],/);
  });

  it('is merged with those that follow within a fixed window of maxDelay, in order', async () => {
    start(settingsWith({ gateway: { batching: { adaptive: false } } }));
    forms(shards[0]!, ROOM, Form.plain);
    for (let i = 1; i <= 4; i++) {
      await publish(subjects.room('r'), [`${i}`]);
      clock.advance(100);
    }
    assert.equal(shards[0]!.batches.length, 1, 'the first left at once, the others wait');
    clock.advance(600);
    assert.equal(shards[0]!.batches.length, 2);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4]);
    assert.deepEqual(shards[0]!.batches[1]?.ages, [[5, 3]]);
    assert.equal(clock.timers, 0);
  });

  it('that is urgent flushes all before it, so many times a second, and is merged beyond', async () => {
    start(settingsWith({ gateway: { batching: { urgentRate: 2 } } }));
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['2']);
    await publish(subjects.room('r'), ['3'], { urgent: true });
    await publish(subjects.room('r'), ['4'], { urgent: true });
    await publish(subjects.room('r'), ['5'], { urgent: true });
    assert.deepEqual(
      shards[0]!.batches.map(({ items }) => items),
      [1, 2, 1],
    );
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2, 3, 4, 5]);
  });

  it('in a fixed window follows a changed maxDelay', async () => {
    start(settingsWith({ gateway: { batching: { adaptive: false } } }));
    forms(shards[0]!, ROOM, Form.plain);
    await publish(subjects.room('r'), ['1']);
    await publish(subjects.room('r'), ['2']);
    clock.advance(100);
    const settings = settingsWith({ rooms: [{ match: 'r', batching: { maxDelay: '150ms', adaptive: false } }] });
    hub.configure(settings);
    assert.deepEqual(shards[0]!.configured, [settings]);
    clock.advance(49);
    assert.equal(shards[0]!.batches.length, 1);
    clock.advance(4);
    assert.deepEqual(plainItems(shards[0]!, ROOM), [1, 2]);
  });

  it('to all goes to every shard that holds anyone', async () => {
    forms(shards[1]!, ALL, Form.plain);
    await publish(subjects.all, ['1']);
    assert.deepEqual(shards[0]!.batches, []);
    assert.deepEqual(plainItems(shards[1]!, ALL), [1]);
  });

  it('of many frames holds the hub for a slice at a time: others are heard between, and nothing overtakes it', async () => {
    start(settingsWith({ gateway: { batching: { maxItems: 10, maxDelay: 0 } } }), 1);
    const other = roomKey('other');
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, other, Form.plain);
    shards[0]!.onFrames = () => clock.freeze(3);
    await publish(
      subjects.room('r'),
      Array.from({ length: 200 }, (_, i) => `${i}`),
    );
    assert.equal(shards[0]!.batches.length, 3);
    // Another room's push, more of this one, and a question come meanwhile.
    await publish(subjects.room('other'), ['"o"']);
    await publish(subjects.room('r'), ['200']);
    await command({ type: 'room', ask: 'q', room: 'r' });
    assert.equal(shards[0]!.messagesOf('ask').length, 1);
    assert.equal(shards[0]!.batches.length, 3);
    while (clock.turn());
    assert.deepEqual(
      plainItems(shards[0]!, ROOM),
      Array.from({ length: 201 }, (_, i) => i),
    );
    assert.deepEqual(
      shards[0]!.batches.slice(-2).map(({ key }) => key),
      [other, ROOM],
    );
  });

  it('to a sampled room with maxDelay 0 is a word on what was cut once a second, whatever comes', async () => {
    const policy = { match: 'r', batching: { maxDelay: 0 }, overload: { maxRate: 10 } };
    start(settingsWith({ rooms: [policy] }), 1);
    forms(shards[0]!, ROOM, Form.v1);
    for (let i = 0; i < 1_000; i++) await publish(subjects.room('r'), [`${i}`]);
    clock.advance(1_000);
    assert.equal(shards[0]!.batches.length, 10);
    assert.deepEqual(shards[0]!.missed, [{ key: ROOM, items: 990, reason: 'overload' }]);
    clock.advance(10_000);
    assert.equal(shards[0]!.missed.length, 1);
    assert.equal(clock.timers, 0);
  });

  it('of the former message version is delivered', async () => {
    forms(shards[0]!, ROOM, Form.plain | Form.v1);
    held.local.publish(subjects.room('r'), Buffer.from(VERSION_1, 'hex'));
    await settled();
    const text = shards[0]!.batches[0]?.frames.find(({ form }) => form === Form.v1)?.bytes.toString();
    assert.equal(text, '{"type":"PUSH","data":{"room":"r","ids":[["old",5,2]],"items":[{"a":1},"x"]}}');
  });

  it('is not encoded while nobody listens', async () => {
    forms(shards[0]!, ROOM, Form.plain);
    forms(shards[0]!, ROOM, 0);
    await publish(subjects.room('r'), ['1']);
    assert.deepEqual(shards[0]!.batches, []);
  });
});

describe('a push to users', () => {
  it('reaches those who are here and nobody else', async () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    forms(shards[1]!, userKey('bob'), Form.plain | Form.v1);
    await publishToUsers(
      [
        { users: ['ann', 'nobody'], texts: ['1', '2'] },
        { users: ['nobody'], texts: ['3'] },
        { users: ['bob', 'ann'], texts: ['4'] },
      ],
      1,
    );
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('ann')), [1, 2, 4]);
    assert.deepEqual(plainItems(shards[1]!, userKey('bob')), [4]);
    const v1 = shards[1]!.batches[0]?.frames.find(({ form }) => form === Form.v1);
    assert.equal(v1?.bytes.toString(), '{"type":"PUSH","data":{"user":true,"ids":[["p",4,1]],"items":[4]}}');
  });

  it('is opened at once: there is one subscription for all users', () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    assert.equal(shards[0]!.messagesOf('subscribed').length, 1);
  });

  it('is encoded once for all of them', async () => {
    for (let i = 0; i < 50; i++) forms(shards[i % 2]!, userKey(`u${i}`), i % 3 ? Form.plain : Form.v1 | Form.plain);
    await publishToUsers([{ users: Array.from({ length: 50 }, (_, i) => `u${i}`), texts: ['1', '2'] }], 1);
    const frames = shards.flatMap(({ batches }) => batches.flatMap(({ frames }) => frames));
    assert.equal(frames.length, 50 + 17);
    for (const form of [Form.plain, Form.v1])
      assert.equal(new Set(frames.filter((frame) => frame.form === form).map(({ bytes }) => bytes)).size, 1);
    await publishToUsers([{ users: ['u0'], texts: ['3'] }], 3);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('u0')), [1, 2, 3]);
  });

  it('drops repeats and retries by id, entry by entry', async () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    const entries = [
      { users: ['ann'], texts: ['1', '2'] },
      { users: ['ann'], texts: ['3'], id: 'k' },
    ];
    await publishToUsers(entries, 1);
    await publishToUsers(entries, 1);
    // The last item of the first entry is new.
    await publishToUsers([{ users: ['ann'], texts: ['3', '4'] }], 3);
    await publishToUsers([{ users: ['ann'], texts: ['3'], id: 'k' }], 5);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('ann')), [1, 2, 3, 4]);
  });

  it('with the id of a push to another user is another push, from pods of the former version too', async () => {
    for (const name of ['ann', 'bob']) forms(shards[0]!, userKey(name), Form.plain);
    await publishToUsers([{ users: ['ann'], texts: ['1'], id: 'k/0' }], 1);
    await publishToUsers([{ users: ['bob'], texts: ['2'], id: 'k/0' }], 2);
    await publishToUsers([{ users: ['ann'], texts: ['1'], id: 'k/0' }], 3);
    clock.advance(1_000);
    assert.deepEqual([plainItems(shards[0]!, userKey('ann')), plainItems(shards[0]!, userKey('bob'))], [[1], [2]]);
  });

  it('that comes before one of the same publisher waits for it', async () => {
    forms(shards[0]!, userKey('ann'), Form.plain);
    await publishToUsers([{ users: ['ann'], texts: ['1'] }], 1);
    await publishToUsers([{ users: ['ann'], texts: ['3'] }], 3);
    await publishToUsers([{ users: ['ann'], texts: ['2'] }], 2);
    clock.advance(1_000);
    assert.deepEqual(plainItems(shards[0]!, userKey('ann')), [1, 2, 3]);
    assert.equal(await counted('gaps_total'), 0);
  });

  it('that is lost is counted, though nobody knows whose it was', async () => {
    await publishToUsers([{ users: ['x'], texts: ['1'] }], 1);
    await publishToUsers([{ users: ['x'], texts: ['9'] }], 9);
    clock.advance(LATE_MS);
    assert.equal(await counted('gaps_total'), 7);
    assert.ok(shards.every(({ missed }) => missed.length === 0));
  });
});
