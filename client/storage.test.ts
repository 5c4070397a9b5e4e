import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PushClient } from './pushClient.ts';
import { SimulatedClock, SimulatedNetwork, turn } from './simulation.ts';
import type { PositionStorage } from './stream.ts';

const KEY = 'pushcluster.r';

/** As sessionStorage, and it counts what is written. */
class Memory implements PositionStorage {
  readonly kept = new Map<string, string>();
  writes = 0;

  getItem(key: string) {
    return this.kept.get(key) ?? null;
  }

  setItem(key: string, value: string) {
    this.writes++;
    this.kept.set(key, String(value));
  }

  get position() {
    return JSON.parse(this.kept.get(KEY) ?? 'null');
  }
}

/** A page in a room whose position is kept, and what the room told it. */
function page(storage: PositionStorage, clock = new SimulatedClock(), since?: { epoch: string; seq: number }) {
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0.5 });
  const told: unknown[] = [];
  const room = push.join<number>('r', { storage, since, last: 3 });
  room.on('item', (item) => told.push(item));
  room.on('reset', ({ reason }) => told.push(reason));
  network.last.accept();
  return { push, room, network, clock, told };
}

/** Answers the last JOIN. @returns what it said */
function answer({ network }: { network: SimulatedNetwork }, data: object) {
  const { id, data: said } = network.last.sent.findLast(({ type }) => type === 'JOIN')!;
  network.last.say({ type: 'OK', id, data: { room: 'r', epoch: 'e', recovered: true, ...data } });
  const { room: _, ...from } = said;
  return from;
}

/** A frame of the pushes from after `prev` up to `seq`, one item each: its seq. */
function pushed(prev: number, seq: number) {
  const items = Array.from({ length: seq - prev }, (_, i) => prev + i + 1);
  return { type: 'PUSH', data: { room: 'r', epoch: 'e', prev, seq, items } };
}

/** What only browsers have: events of the page. */
async function inBrowser(run: (tell: (event: string) => void) => Promise<void>) {
  const events = new EventTarget();
  const place = globalThis as unknown as Record<string, unknown>;
  for (const name of ['addEventListener', 'removeEventListener'] as const)
    place[name] = (...args: Parameters<EventTarget['addEventListener']>) => events[name](...args);
  try {
    await run((event) => events.dispatchEvent(new Event(event)));
  } finally {
    delete place.addEventListener;
    delete place.removeEventListener;
  }
}

test('a page that is loaded again goes on where it was, whatever ended the former', async () => {
  const ends: ((former: ReturnType<typeof page>, tell: (event: string) => void) => unknown)[] = [
    ({ push }) => push.close(),
    ({ room }) => room.leave(),
    ({ network }) => network.last.end(4403),
    (_, tell) => tell('pagehide'),
    ({ clock }) => clock.advance(1_000),
  ];
  for (const end of ends)
    await inBrowser(async (tell) => {
      const storage = new Memory();
      const former = page(storage);
      assert.deepEqual(answer(former, { seq: 0 }), { last: 3 });
      former.network.last.say(pushed(0, 2));
      former.network.last.say(pushed(2, 3));
      await end(former, tell);
      const again = page(storage, former.clock);
      assert.equal(again.room.position?.seq, 3);
      const { away, ...from } = answer(again, { seq: 5 });
      assert.deepEqual(from, { since: { epoch: 'e', seq: 3 } });
      assert.ok(Number(away) <= 1_000, `${away}`);
      again.network.last.say(pushed(3, 5));
      assert.deepEqual([...former.told, ...again.told], [1, 2, 3, 4, 5]);
      former.push.close();
      again.push.close();
    });
});

test('it is written at most once a second, however much comes, and not in the middle of a frame', async () => {
  const storage = new Memory();
  const { push, room, network, clock } = page(storage);
  answer({ network }, { seq: 0 });
  room.on('item', () => assert.ok((storage.position?.seq ?? 0) < room.position!.seq));
  for (let seq = 0; seq < 1_000; seq++) {
    network.last.say(pushed(seq, seq + 1));
    await clock.advance(10);
  }
  assert.ok(storage.writes >= 9 && storage.writes <= 11, `${storage.writes} writes in 10 s`);
  await clock.advance(1_000);
  const { writes } = storage;
  assert.equal(storage.position.seq, 1_000);
  await clock.advance(10_000);
  assert.equal(storage.writes, writes, 'nothing came');
  push.close();
  assert.equal(clock.pending, 0);
});

test('what is given by since comes first, and last where nothing is kept', () => {
  const storage = new Memory();
  storage.kept.set(KEY, JSON.stringify({ epoch: 'e', seq: 7, at: 5 }));
  const given = page(storage, undefined, { epoch: 'f', seq: 1 });
  assert.deepEqual(answer(given, { epoch: 'f', seq: 1 }), { since: { epoch: 'f', seq: 1 } });
  given.push.close();
  const fresh = page(new Memory());
  assert.deepEqual(answer(fresh, { seq: 1 }), { last: 3 });
  fresh.push.close();
});

test('rooms keep their positions apart', async () => {
  const storage = new Memory();
  const { push, network, clock } = page(storage);
  push.join('other', { storage });
  for (const [i, room] of ['r', 'other'].entries())
    network.last.say({ type: 'OK', id: i + 1, data: { room, epoch: room, seq: i } });
  await clock.advance(1_000);
  push.close();
  assert.deepEqual(
    [...storage.kept].map(([key, value]) => [key, JSON.parse(value).epoch]),
    [
      [KEY, 'r'],
      ['pushcluster.other', 'other'],
    ],
  );
});

test('a history that has ended is not continued by the next page', async () => {
  const storage = new Memory();
  const former = page(storage);
  answer(former, { seq: 4 });
  former.network.last.say({ type: 'PUSH', data: { room: 'r', items: ['without a place'] } });
  await former.clock.advance(1_000);
  former.push.close();
  const again = page(storage, former.clock);
  assert.deepEqual(answer(again, { seq: 9 }), { last: 3 });
  again.push.close();
});

test('a page that leaves and joins again in an item goes on after its frame, and does not get it for ever', () => {
  const storage = new Memory();
  const first = page(storage);
  answer(first, { seq: 0 });
  const { push, network } = first;
  const told: unknown[] = [];
  const again = (item: unknown) => {
    told.push(item);
    assert.ok(told.length < 10);
    if (told.length > 1) return;
    push.join('r').leave();
    push.join('r', { storage }).on('item', again);
    assert.deepEqual((answer(first, { seq: 1 }) as { since: object }).since, { epoch: 'e', seq: 1 });
    network.last.say({ type: 'OK', id: 2, data: {} });
  };
  first.room.on('item', again);
  network.last.say(pushed(0, 1));
  network.last.say(pushed(1, 2));
  assert.deepEqual(told, [1, 2]);
  push.close();
});

const throwing = () => {
  throw new Error('SecurityError');
};
const HOSTILE: Record<string, PositionStorage> = {
  'that throws': { getItem: throwing, setItem: throwing },
  'that is full': { getItem: () => null, setItem: throwing },
  'that has other methods': {} as PositionStorage,
  'that answers later': {
    getItem: async () => JSON.stringify({ epoch: 'e', seq: 7 }),
    setItem: async () => {},
  } as never,
  'that fails later': { getItem: async () => throwing(), setItem: async () => throwing() } as never,
  // biome-ignore lint/suspicious/noThenProperty: it is the point
  'that answers by what is hardly a promise': { getItem: () => ({ then: throwing }), setItem: throwing } as never,
  'whose text is a promise': { getItem: async () => 'x', setItem: () => {} } as unknown as PositionStorage,
};

for (const [name, storage] of Object.entries(HOSTILE))
  test(`with a storage ${name} a room works, and only the resume is lost`, async () => {
    const { push, network, clock, told } = page(storage);
    assert.deepEqual(answer({ network }, { seq: 0 }), { last: 3 });
    network.last.say(pushed(0, 2));
    await clock.advance(3_000);
    network.last.say(pushed(2, 3));
    push.close();
    assert.deepEqual(told, [1, 2, 3]);
    assert.equal(clock.pending, 0);
  });

test('whatever text is kept, the room is joined, with a position that a gateway accepts or none', async () => {
  const positions = fc.record(
    {
      epoch: fc.oneof(fc.string({ maxLength: 5_000 }), fc.jsonValue()),
      seq: fc.oneof(fc.integer(), fc.double(), fc.jsonValue()),
      at: fc.oneof(fc.double(), fc.jsonValue(), fc.constant({ valueOf: 0, toString: 0 })),
    },
    { requiredKeys: [] },
  );
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    positions.map((position) => JSON.stringify(position)),
  );
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  process.on('uncaughtException', note);
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const { push, network, clock, told } = page({ getItem: () => text, setItem: () => {} });
      await turn();
      const { since, away, last } = answer({ network }, { seq: 0, recovered: false }) as {
        since?: { epoch: string; seq: number };
        away?: number;
        last?: number;
      };
      if (!since) assert.equal(last, 3);
      else {
        assert.ok(typeof since.epoch === 'string' && since.epoch !== '' && since.epoch.length <= 128);
        assert.ok(Number.isSafeInteger(since.seq) && since.seq >= 0);
        assert.ok(away === undefined || (typeof away === 'number' && away >= 0));
      }
      network.last.say(pushed(0, 1));
      assert.equal(told.at(-1), 1);
      push.close();
      assert.equal(clock.pending, 0);
    }),
    { numRuns: 500 },
  );
  process.off('uncaughtException', note);
  assert.deepEqual(uncaught, []);
});

test('what is no object is refused as a storage', () => {
  for (const storage of [5, 'sessionStorage', [], true])
    assert.throws(() => page(storage as unknown as PositionStorage), {
      name: 'TypeError',
      message: 'storage must be an object.',
    });
});
