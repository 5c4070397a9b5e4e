import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Target } from '@pushcluster/protocol/api.ts';
import { decodePush, decodeUserPush, itemsSize, type Push, type UserPush } from '@pushcluster/protocol/push.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusOverloaded, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { translateError } from '../errors/errorTranslation.ts';
import { Publisher } from './publisher.ts';

const subjects = new Subjects('test');
const json = (...values: unknown[]) => values.map((value) => Buffer.from(JSON.stringify(value)));
const NO_OPTIONS = { urgent: false, id: '' };

/** A bus whose failures a test decides. */
class FakeBus implements Bus {
  connected = true;
  maxPayload = 1_048_576;
  sent: [subject: string, bytes: Uint8Array][] = [];
  /** Publisher, number, and the messages that were sent before. */
  beats: [publisher: string, beat: number, before: number][] = [];
  flushes = 0;
  /** Messages that go out before publish throws BusUnavailable. */
  sendsLeft = Number.POSITIVE_INFINITY;
  receipt: () => Promise<void> = () => Promise.resolve();

  publish(subject: string, bytes: Uint8Array) {
    if (subject === subjects.beat) {
      const { publisher, counter } = decodePush(bytes);
      this.beats.push([publisher, counter, this.sent.length]);
      return;
    }
    if (this.sendsLeft-- <= 0) throw new BusUnavailable('gone');
    if (bytes.length > this.maxPayload) throw new RangeError('too large');
    this.sent.push([subject, bytes]);
  }

  flush() {
    this.flushes++;
    return this.receipt();
  }

  subscribe(): never {
    throw new Error('not here');
  }

  onEvent = () => () => {};

  close = async () => {};

  pushes(subject: string): Push[] {
    return this.sent.filter(([to]) => to === subject).map(([, bytes]) => decodePush(bytes));
  }

  userPushes(): UserPush[] {
    return this.sent.filter(([to]) => to === subjects.user).map(([, bytes]) => decodeUserPush(bytes));
  }
}

const textOf = (push: { items: { bytes: Uint8Array } }) => Buffer.from(push.items.bytes).toString();

describe('a publisher', () => {
  test('counts items per subject from 1 and says since when', async () => {
    const bus = new FakeBus();
    let now = 1_000;
    const publisher = new Publisher(bus, subjects, { now: () => now });
    await publisher.publish({ type: 'room', room: 'a' }, json(1, 2, 3), NO_OPTIONS);
    now = 2_000;
    await publisher.publish({ type: 'room', room: 'a' }, json(4), { urgent: true, id: 'k' });
    await publisher.publish({ type: 'room', room: 'b' }, json(5), NO_OPTIONS);
    await publisher.publish({ type: 'all' }, json(6), NO_OPTIONS);
    const [first, second] = bus.pushes(subjects.room('a'));
    assert.deepEqual(
      [first!, second!].map(({ counter, begun, at, urgent, id }) => ({ counter, begun, at, urgent, id })),
      [
        { counter: 1, begun: 1_000, at: 1_000, urgent: false, id: '' },
        { counter: 4, begun: 1_000, at: 2_000, urgent: true, id: 'k/0' },
      ],
    );
    assert.equal(bus.pushes(subjects.room('b'))[0]!.counter, 1);
    assert.equal(bus.pushes(subjects.room('b'))[0]!.begun, 2_000);
    assert.equal(bus.pushes(subjects.all)[0]!.counter, 1);
    assert.match(first!.publisher, /^[A-Za-z0-9_-]{8}$/);
  });

  test('becomes another publisher rather than count a forgotten room from 1', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects, { maxSubjects: 2 });
    for (const room of ['a', 'b', 'a', 'c', 'a'])
      await publisher.publish({ type: 'room', room }, json(room), NO_OPTIONS);
    const of = (room: string) => bus.pushes(subjects.room(room));
    assert.deepEqual(
      of('a').map(({ counter }) => counter),
      [1, 2, 1],
    );
    assert.equal(of('a')[0]!.publisher, of('a')[1]!.publisher);
    assert.notEqual(of('a')[1]!.publisher, of('a')[2]!.publisher);
    assert.equal(of('a')[2]!.publisher, of('c')[0]!.publisher);
  });

  test('counts on under another name where a push with an id may not have arrived, so that no gap is told of its retry', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    const room = { type: 'room' as const, room: 'a' };
    await publisher.publish(room, json(1, 2), NO_OPTIONS);
    await publisher.publish({ type: 'all' }, json(1), NO_OPTIONS);
    bus.receipt = () => Promise.reject(new BusUnconfirmed('cut'));
    const lost = [json(3), json(4, 5)].map((items) => publisher.publish(room, items, { urgent: false, id: 'k' }));
    for (const push of lost) await assert.rejects(push, BusUnconfirmed);
    bus.receipt = () => Promise.resolve();
    await publisher.publish(room, json(3), NO_OPTIONS);
    await publisher.publish({ type: 'all' }, json(2), NO_OPTIONS);
    for (let i = 0; i < 3; i++) publisher.tick();
    const told = bus.pushes(subjects.room('a')).map((push) => [push.publisher, push.counter, textOf(push)]);
    const name = publisher.id.replace(/\.1$/, '');
    assert.notEqual(publisher.id, name);
    assert.deepEqual(told, [
      [name, 1, '1,2'],
      [name, 3, '3'],
      [name, 4, '4,5'],
      [publisher.id, 1, '3'],
      // What was confirmed is told still: it may have been lost beyond the server.
      [name, 3, ''],
      [publisher.id, 2, ''],
    ]);
    const others = bus.pushes(subjects.all).map((push) => [push.publisher, push.counter]);
    assert.deepEqual(others, [
      [name, 1],
      [name, 2],
      [name, 3],
    ]);
  });

  test('counts on as before where nobody can retry what did not arrive: it is a gap', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    const room = { type: 'room' as const, room: 'a' };
    bus.receipt = () => Promise.reject(new BusUnconfirmed('cut'));
    await assert.rejects(publisher.publish(room, json(1, 2), NO_OPTIONS), BusUnconfirmed);
    bus.receipt = () => Promise.resolve();
    await publisher.publish(room, json(3), NO_OPTIONS);
    assert.deepEqual(
      bus.pushes(subjects.room('a')).map((push) => [push.publisher, push.counter]),
      [
        [publisher.id, 1],
        [publisher.id, 3],
      ],
    );
  });

  test('to users counts on under another name as well', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    bus.receipt = () => Promise.reject(new BusUnconfirmed('cut'));
    const user = { type: 'user' as const, user: 'a' };
    await assert.rejects(publisher.publish(user, json(1), { urgent: false, id: 'k' }), BusUnconfirmed);
    bus.receipt = () => Promise.resolve();
    await publisher.publish(user, json(1), NO_OPTIONS);
    const [first, second] = bus.userPushes();
    assert.deepEqual([first!.counter, second!.counter], [1, 1]);
    assert.notEqual(first!.publisher, second!.publisher);
  });

  test('beats before what it publishes, and says with it what came after which beat', async () => {
    const bus = new FakeBus();
    let now = 0;
    const publisher = new Publisher(bus, subjects, { monotonic: () => now });
    const push = (room: string, ...items: number[]) =>
      publisher.publish({ type: 'room', room }, json(...items), NO_OPTIONS);
    await push('a', 1, 2);
    await push('a', 3);
    now = 100;
    await push('b', 1);
    await push('a', 4);
    publisher.tick();
    await push('a', 5);
    assert.deepEqual(bus.beats, [
      [publisher.id, 1, 0],
      [publisher.id, 2, 2],
      [publisher.id, 3, 4],
    ]);
    const told = (room: string) =>
      bus.pushes(subjects.room(room)).map(({ counter, beat, mark, first }) => ({ counter, beat, mark, first }));
    assert.deepEqual(told('a'), [
      { counter: 1, beat: 1, mark: 1, first: 1 },
      { counter: 3, beat: 1, mark: 1, first: 1 },
      { counter: 4, beat: 2, mark: 4, first: 1 },
      { counter: 5, beat: 3, mark: 5, first: 1 },
    ]);
    assert.deepEqual(told('b'), [{ counter: 1, beat: 2, mark: 1, first: 2 }]);
  });

  test('says how far it counted of what had a push lately: rooms, all and users', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    await publisher.publish({ type: 'rooms', rooms: ['a', 'b'] }, json(1, 2), NO_OPTIONS);
    await publisher.publish({ type: 'all' }, json(1), NO_OPTIONS);
    await publisher.publish({ type: 'user', user: 'u' }, json(1), NO_OPTIONS);
    bus.sent = [];
    bus.connected = false;
    for (let i = 0; i < 10; i++) publisher.tick();
    assert.deepEqual(bus.sent, [], 'nothing while the bus is away');
    bus.connected = true;
    publisher.tick();
    publisher.tick();
    const [a, b] = ['a', 'b'].map((room) => bus.pushes(subjects.room(room)));
    for (const told of [a!, b!, bus.pushes(subjects.all), bus.userPushes()]) assert.equal(told.length, 1);
    assert.deepEqual([a![0]!.counter, a![0]!.items.lengths.length, a![0]!.first], [3, 0, 1]);
    assert.deepEqual([bus.userPushes()[0]!.counter, bus.userPushes()[0]!.entries], [2, []]);
    bus.sendsLeft = 0;
    publisher.tick();
  });

  test('resolves only after the receipt', async () => {
    const bus = new FakeBus();
    const receipt = Promise.withResolvers<void>();
    bus.receipt = () => receipt.promise;
    const publisher = new Publisher(bus, subjects);
    let done = false;
    const push = publisher.publish({ type: 'all' }, json(1), NO_OPTIONS).then(() => {
      done = true;
    });
    await new Promise(setImmediate);
    assert.equal(done, false);
    assert.ok(publisher.inFlight > 0);
    receipt.resolve();
    await push;
    assert.equal(publisher.inFlight, 0);
  });

  test('splits what is over the bus’s limit, always at the same places, with an id for each part', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 4_096;
    const publisher = new Publisher(bus, subjects);
    const items = json(...Array.from({ length: 40 }, (_, i) => `${i}-${'x'.repeat(i * 20)}`));
    const target = { type: 'room' as const, room: 'a' };
    await publisher.publish(target, items, { urgent: false, id: 'k' });
    const once = bus.pushes(subjects.room('a'));
    assert.ok(once.length > 3);
    assert.deepEqual(
      once.map(({ id }) => id),
      once.map((_, part) => `k/${part}`),
    );
    assert.equal(once.map(textOf).join(), items.join());
    let counter = 1;
    for (const push of once) {
      assert.equal(push.counter, counter);
      counter += push.items.lengths.length;
    }
    bus.sent = [];
    await new Publisher(bus, subjects).publish(target, items, { urgent: false, id: 'k' });
    assert.deepEqual(
      bus.pushes(subjects.room('a')).map(({ id, items: { bytes } }) => [id, Buffer.from(bytes).toString()]),
      once.map((push) => [push.id, textOf(push)]),
    );
  });

  test('keeps a kilobyte of every message for the header, of later versions too', async () => {
    const items = json(...Array.from({ length: 40 }, (_, i) => 'x'.repeat(i * 20)));
    for (let maxPayload = 4_096; maxPayload < 4_200; maxPayload++) {
      const bus = new FakeBus();
      bus.maxPayload = maxPayload;
      await new Publisher(bus, subjects).publish({ type: 'all' }, items, NO_OPTIONS);
      for (const part of bus.pushes(subjects.all)) assert.ok(itemsSize(part.items) <= maxPayload - 1_024);
    }
  });

  test('names the item that is over the bus’s limit and sends nothing of the push', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 4_096;
    const publisher = new Publisher(bus, subjects);
    for (const target of [{ type: 'all' as const }, { type: 'user' as const, user: 'u' }])
      await assert.rejects(publisher.publish(target, json(1, 'x'.repeat(4_000)), NO_OPTIONS), {
        code: 'item_too_large',
        message: /^items\[1\] has 4002 bytes/,
      });
    assert.deepEqual(bus.sent, []);
  });

  test('an item of just the bus’s limit passes, of one byte more does not', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 4_096;
    const publisher = new Publisher(bus, subjects);
    await publisher.publish({ type: 'all' }, json('x'.repeat(4_096 - 1_024 - 8 - 2)), NO_OPTIONS);
    await publisher.publish({ type: 'all' }, json(1, 'x'.repeat(4_096 - 1_024 - 8 - 2), 2), NO_OPTIONS);
    assert.equal(bus.sent.length, 4);
    const larger = json('x'.repeat(4_096 - 1_024 - 8 - 1));
    await assert.rejects(publisher.publish({ type: 'all' }, larger, NO_OPTIONS), { code: 'item_too_large' });
  });

  test('while disconnected refuses at once and leaves no gap in the counters', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    bus.connected = false;
    for (const target of [
      { type: 'all' as const },
      { type: 'user' as const, user: 'u' },
      { type: 'rooms' as const, rooms: ['a', 'b'] },
    ])
      await assert.rejects(publisher.publish(target, json(1), NO_OPTIONS), BusUnavailable);
    bus.connected = true;
    bus.sendsLeft = 0;
    await assert.rejects(publisher.publish({ type: 'all' }, json(1), NO_OPTIONS), BusUnavailable);
    bus.sendsLeft = Number.POSITIVE_INFINITY;
    await publisher.publish({ type: 'all' }, json(2), NO_OPTIONS);
    assert.deepEqual(
      bus.pushes(subjects.all).map(({ counter }) => counter),
      [1],
    );
  });

  test('a push that broke off after its first part is unconfirmed', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 4_096;
    bus.sendsLeft = 1;
    const items = json('x'.repeat(2_000), 'y'.repeat(2_000));
    await assert.rejects(new Publisher(bus, subjects).publish({ type: 'all' }, items, NO_OPTIONS), BusUnconfirmed);
    assert.equal(bus.sent.length, 1);
  });

  const targets: Target[] = [
    { type: 'all' },
    { type: 'room', room: 'a' },
    { type: 'rooms', rooms: ['a', 'b'] },
    { type: 'user', user: 'u' },
    { type: 'users', users: ['u', 'v'] },
  ];
  for (const target of targets)
    test(`is overloaded, and sends nothing, where the bus takes no more: ${target.type}`, async () => {
      const bus = new FakeBus();
      bus.publish = () => {
        throw new BusOverloaded('full');
      };
      const push = new Publisher(bus, subjects).publish(target, json(1), NO_OPTIONS);
      const error = await push.then(
        () => assert.fail('it was taken'),
        (reason: unknown) => reason,
      );
      assert.equal(translateError(error, 0).code, 'overloaded');
      assert.match(translateError(error, 0).headers['retry-after'] ?? '', /^[1-3]$/);
    });
});

describe('a push to several rooms', () => {
  test('reaches each', async () => {
    const bus = new FakeBus();
    const { failures } = await new Publisher(bus, subjects).publish({ type: 'rooms', rooms: ['a', 'b'] }, json(1), {
      urgent: false,
      id: 'k',
    });
    assert.deepEqual(failures, []);
    assert.deepEqual(
      bus.sent.map(([subject]) => subject),
      [subjects.room('a'), subjects.room('b')],
    );
  });

  test('says which failed where others did not', async () => {
    const bus = new FakeBus();
    bus.sendsLeft = 2;
    const { failures } = await new Publisher(bus, subjects).publish(
      { type: 'rooms', rooms: ['a', 'b', 'c'] },
      json(1),
      NO_OPTIONS,
    );
    assert.deepEqual(failures, [{ room: 'c', code: 'bus_unavailable' }]);
  });

  test('says which found the bus full where others did not', async () => {
    const bus = new FakeBus();
    const publish = bus.publish.bind(bus);
    bus.publish = (subject, bytes) => {
      if (bus.sent.length === 2) throw new BusOverloaded('full');
      publish(subject, bytes);
    };
    const { failures } = await new Publisher(bus, subjects).publish(
      { type: 'rooms', rooms: ['a', 'b', 'c'] },
      json(1),
      {
        urgent: false,
        id: '',
      },
    );
    assert.deepEqual(failures, [{ room: 'c', code: 'overloaded' }]);
  });

  test('however large goes out in waves that the bus can hold', async () => {
    const bus = new FakeBus();
    const held = { most: 0, now: 0 };
    const publish = bus.publish.bind(bus);
    bus.publish = (subject, bytes) => {
      publish(subject, bytes);
      held.now += bytes.length;
      held.most = Math.max(held.most, held.now);
    };
    bus.receipt = async () => {
      await new Promise(setImmediate);
      held.now = 0;
    };
    const rooms = Array.from({ length: 100 }, (_, i) => `r${i}`);
    const items = Array.from({ length: 30 }, () => Buffer.from(JSON.stringify('x'.repeat(30_000))));
    const { failures } = await new Publisher(bus, subjects).publish({ type: 'rooms', rooms }, items, NO_OPTIONS);
    assert.deepEqual(failures, []);
    assert.deepEqual(
      bus.sent.map(([subject]) => subject),
      rooms.map((room) => subjects.room(room)),
    );
    assert.ok(held.most <= 8_388_608, `${held.most} bytes were under way`);
  });

  test('that reached none for sure is unconfirmed as a whole', async () => {
    const bus = new FakeBus();
    bus.sendsLeft = 1;
    bus.receipt = () => Promise.reject(new BusUnconfirmed('cut'));
    await assert.rejects(
      new Publisher(bus, subjects).publish({ type: 'rooms', rooms: ['a', 'b'] }, json(1), NO_OPTIONS),
      BusUnconfirmed,
    );
  });

  test('none of which was sent is unavailable', async () => {
    const bus = new FakeBus();
    bus.sendsLeft = 0;
    await assert.rejects(
      new Publisher(bus, subjects).publish({ type: 'rooms', rooms: ['a', 'b'] }, json(1), NO_OPTIONS),
      BusUnavailable,
    );
  });
});

test('what a bus refuses of the counts after their tick is thrown by the next tick, and by nothing before', async () => {
  const bus = new FakeBus();
  const publisher = new Publisher(bus, subjects);
  const rooms = Array.from({ length: 1_000 }, (_, i) => `${i}`);
  await publisher.publish({ type: 'rooms', rooms }, json(1), NO_OPTIONS);
  publisher.greet(true);
  const publish = bus.publish.bind(bus);
  let left = 300;
  bus.publish = (subject, bytes) => {
    if (left-- <= 0) throw new RangeError('too large');
    publish(subject, bytes);
  };
  // What a tick can't send at once comes in later turns.
  for (let i = 0; i < 5 && left > 0; i++) {
    publisher.tick();
    await new Promise(setImmediate);
  }
  assert.ok(left <= 0);
  assert.throws(() => publisher.tick(), RangeError);
});

describe('pushes to users', () => {
  test('of the same milliseconds travel in one message, counted item by item', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    await Promise.all([
      publisher.publish({ type: 'user', user: 'a' }, json(1, 2), { urgent: false, id: 'k' }),
      publisher.publish({ type: 'users', users: ['b', 'c'] }, json(3), { urgent: true, id: '' }),
    ]);
    await publisher.publish({ type: 'user', user: 'd' }, json(4), NO_OPTIONS);
    const [both, last] = bus.userPushes();
    assert.deepEqual(
      both!.entries.map(({ users, id, urgent, items }) => ({
        users,
        id,
        urgent,
        text: Buffer.from(items.bytes).toString(),
      })),
      [
        { users: ['a'], id: 'k/0', urgent: false, text: '1,2' },
        { users: ['b', 'c'], id: '', urgent: true, text: '3' },
      ],
    );
    assert.deepEqual([both!.counter, last!.counter, bus.sent.length], [1, 4, 2]);
  });

  test('of the same milliseconds name 4,096 users in one message at most, in order', async () => {
    const bus = new FakeBus();
    const publisher = new Publisher(bus, subjects);
    const all = Array.from({ length: 10_000 }, (_, i) => `u${i}`);
    const pushes = Array.from({ length: 10 }, (_, i) => all.slice(i * 1_000, (i + 1) * 1_000));
    await Promise.all(pushes.map((users) => publisher.publish({ type: 'users', users }, json(1), NO_OPTIONS)));
    const named = bus.userPushes().map(({ entries }) => entries.flatMap(({ users }) => users));
    assert.deepEqual(named.flat(), all);
    assert.ok(named.every((users) => users.length <= 4_096));
    assert.equal(named.length, 3);
  });

  test('are cut to the bus’s limit: by items and by users, each part with its own id', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 8_192;
    const users = Array.from({ length: 60 }, (_, i) => `user-${i}-${'x'.repeat(80)}`);
    const items = json(...Array.from({ length: 20 }, (_, i) => `${i}${'y'.repeat(900)}`));
    await new Publisher(bus, subjects).publish({ type: 'users', users }, items, { urgent: false, id: 'k' });
    for (const [, bytes] of bus.sent) assert.ok(bytes.length <= bus.maxPayload);
    const entries = bus.userPushes().flatMap((push) => push.entries);
    assert.deepEqual(
      entries.map(({ id }) => id),
      entries.map((_, i) => `k/${i}`),
    );
    for (const user of users) {
      const theirs = entries.filter((entry) => entry.users.includes(user)).map(textOf);
      assert.equal(theirs.join(), items.join());
    }
    let counter = 1;
    for (const push of bus.userPushes()) {
      assert.equal(push.counter, counter);
      for (const entry of push.entries) counter += entry.items.lengths.length;
    }
  });

  test('with an id are cut to the same parts however their users are listed', async () => {
    const users = Array.from({ length: 60 }, (_, i) => `user-${i}-${'x'.repeat(80)}`);
    const entriesFor = async (list: string[]) => {
      const bus = new FakeBus();
      bus.maxPayload = 8_192;
      await new Publisher(bus, subjects).publish({ type: 'users', users: list }, json(1), { urgent: false, id: 'k' });
      return bus.userPushes().flatMap((push) => push.entries.map((entry) => [entry.id, entry.users]));
    };
    assert.deepEqual(await entriesFor(users.toReversed()), await entriesFor(users));
  });

  test('that find the bus gone when their milliseconds are over were not sent', async () => {
    const bus = new FakeBus();
    bus.sendsLeft = 0;
    await assert.rejects(
      new Publisher(bus, subjects).publish({ type: 'user', user: 'a' }, json(1), NO_OPTIONS),
      BusUnavailable,
    );
  });

  test('of which one part went and another did not are unconfirmed', async () => {
    const bus = new FakeBus();
    bus.maxPayload = 4_096;
    bus.sendsLeft = 1;
    const items = json('x'.repeat(2_000), 'y'.repeat(2_000));
    await assert.rejects(
      new Publisher(bus, subjects).publish({ type: 'user', user: 'a' }, items, NO_OPTIONS),
      BusUnconfirmed,
    );
  });
});
