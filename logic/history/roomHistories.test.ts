import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { HistoryRefused, type HistoryStore, type StreamState } from '@pushcluster/runtime/history/historyStore.ts';
import { RoomHistories } from './roomHistories.ts';

const MATCH = 'live-*';
const settings = Settings.parse({ rooms: [{ match: MATCH, history: {} }] });
const log = { error: () => {}, info: () => {} };

describe('a number that a stored push gets', () => {
  let state: StreamState;
  let histories: RoomHistories;
  let renewed: number;
  /** A server answers that has yet to learn what the stream became. */
  let isUnaware: boolean;
  /** Whether the stream has the push. */
  let holds: boolean;
  /** What gateways have seen. */
  let reached: Map<string, number>;
  let clock: FakeClock;
  const isIn = async () => holds;

  beforeEach(async () => {
    state = { epoch: 'first', last: 100, floor: 0, messages: 1_000, maxAge: 3_600_000 };
    renewed = 0;
    isUnaware = false;
    holds = true;
    const store = {
      ensure: async () => {},
      state: async () => (isUnaware ? { ...state, epoch: 'first' } : { ...state }),
      renew: async (_: string, epoch: string, known: string) => {
        if (state.epoch !== epoch) return;
        renewed++;
        state.epoch = `after ${known}`;
      },
      close: () => {},
    } as unknown as HistoryStore;
    reached = new Map();
    clock = new FakeClock();
    const reports = {
      arriving: undefined,
      connected: () => {},
      get reached() {
        return reached;
      },
    };
    const bus = { onEvent: () => () => {} };
    histories = new RoomHistories({ store, bus, settings: () => settings, log, reports, clock });
    await histories.given(MATCH);
  });

  const storedIn = async (epoch: string, seq: number, { isDuplicate = false, look = isIn } = {}) =>
    histories.stored(MATCH, { seq, epoch }, { before: await histories.given(MATCH), isDuplicate }, look);
  const stored = (seq: number, isDuplicate = false) => storedIn('first', seq, { isDuplicate });

  it('is above those before it, in the same history', async () => {
    assert.deepEqual(await stored(101), { seq: 101, epoch: 'first' });
    assert.equal(renewed, 0);
  });

  it('makes a stream that gives it again another history', async () => {
    state.last = 60;
    assert.deepEqual(await stored(60), { seq: 60, epoch: 'after first' });
    assert.deepEqual([renewed, (await histories.given(MATCH)).top], [1, { seq: 60, epoch: 'after first' }]);
  });

  it('makes a stream another history that gives a number again which gateways have seen', async () => {
    reached = new Map([['first', 140]]);
    assert.deepEqual(await stored(140), { seq: 140, epoch: 'after first' });
    assert.equal(renewed, 1);
  });

  it('makes it another one also where this process did not know that it had become one', async () => {
    reached = new Map([['second', 50]]);
    Object.assign(state, { epoch: 'second', last: 40 });
    assert.deepEqual(await storedIn('second', 40), { seq: 40, epoch: 'after second' });
  });

  it('is above those that gateways have seen, in the same history', async () => {
    reached = new Map([['first', 140]]);
    assert.deepEqual(await stored(141), { seq: 141, epoch: 'first' });
    assert.equal(renewed, 0);
  });

  it('is not believed where a server has yet to learn that the stream became another history', async () => {
    state.last = 60;
    await stored(60);
    Object.assign(state, { epoch: 'first', last: 61 });
    await assert.rejects(stored(61), BusUnconfirmed);
    await clock.pass(11_000);
    await assert.rejects(stored(61), BusUnconfirmed);
    state.epoch = 'after first';
    assert.deepEqual(await storedIn('after first', 61), { seq: 61, epoch: 'after first' });
    assert.equal(renewed, 1);
  });

  it('is not believed where a server takes the stream for what it was, just after it became another history', async () => {
    state.last = 60;
    isUnaware = true;
    await assert.rejects(stored(60), BusUnconfirmed);
    isUnaware = false;
    assert.deepEqual(await storedIn('after first', 60), { seq: 60, epoch: 'after first' });
  });

  it('makes a stream another history that keeps an epoch which was there before', async () => {
    state.last = 60;
    await stored(60);
    Object.assign(state, { epoch: 'first', last: 300 });
    await assert.rejects(stored(300), BusUnconfirmed);
    await clock.pass(12_000);
    assert.deepEqual(await stored(300), { seq: 300, epoch: 'after after first' });
    assert.equal(renewed, 2);
  });

  it('makes a stream another history at once whose epoch was there before: an older copy of it was restored', async () => {
    state.last = 60;
    await stored(60);
    Object.assign(state, { epoch: 'first', last: 50 });
    assert.deepEqual(await stored(50), { seq: 50, epoch: 'after after first' });
    assert.equal(renewed, 2);
  });

  it('is none where another stream has taken the place of the one that gave it', async () => {
    Object.assign(state, { epoch: 'other', last: 0 });
    holds = false;
    assert.equal(await stored(60), undefined);
    assert.deepEqual([renewed, (await histories.given(MATCH)).top], [0, { seq: 100, epoch: 'first' }]);
  });

  it('is that of an earlier attempt, if the stream has all that it had', async () => {
    assert.deepEqual(await stored(60, true), { seq: 60, epoch: 'first' });
    assert.deepEqual([renewed, (await histories.given(MATCH)).top], [0, { seq: 100, epoch: 'first' }]);
  });

  it('is that of an earlier attempt, although limits have removed its push since', async () => {
    holds = false;
    assert.deepEqual(await stored(80, true), { seq: 80, epoch: 'first' });
    assert.equal(renewed, 0);
  });

  it('makes a stream another history that gave it again to an attempt without an answer', async () => {
    state.last = 60;
    assert.deepEqual(await stored(60, true), { seq: 60, epoch: 'after first' });
    assert.equal(renewed, 1);
  });

  it('makes a stream another history that gave it again to a push whose first attempt came later', async () => {
    const before = await histories.given(MATCH);
    assert.deepEqual(
      await histories.stored(MATCH, { seq: 100, epoch: 'first' }, { before, first: before, isDuplicate: true }, isIn),
      { seq: 100, epoch: 'after first' },
    );
  });

  it('is looked for again where the history becomes another one meanwhile: a later one stays the present one', async () => {
    state.epoch = 'second';
    let found = (_: boolean) => {};
    const look = () =>
      new Promise<boolean>((resolve) => {
        found = resolve;
      });
    const slow = storedIn('second', 101, { look });
    await new Promise(setImmediate);
    state.epoch = 'third';
    await storedIn('third', 102);
    found(true);
    await new Promise(setImmediate);
    found(true);
    assert.deepEqual(await slow, { seq: 101, epoch: 'third' });
    assert.deepEqual(await storedIn('third', 103), { seq: 103, epoch: 'third' });
    assert.equal(renewed, 0);
  });
});

describe('the streams of policies', () => {
  const other = { match: 'live-vip-*', history: {} };
  const own = { match: MATCH, history: {} };
  let rooms: object[];
  let calls: string[];
  /** Lets the calls of the store go on. */
  let answer: (() => void)[];
  let clock: FakeClock;
  /** What NATS refuses. */
  let refused: string[];
  let histories: RoomHistories;

  const settled = async () => {
    for (let turn = 0; turn < 20; turn++) {
      for (const each of answer.splice(0)) each();
      await new Promise(setImmediate);
    }
  };
  const configured = async (...policies: object[]) => {
    rooms = policies;
    histories.configure();
    await settled();
    return calls.splice(0);
  };

  beforeEach(async () => {
    rooms = [own];
    calls = [];
    answer = [];
    refused = [];
    const told = async (call: string) => {
      calls.push(call);
      await new Promise<void>((resolve) => answer.push(resolve));
      if (refused.includes(call)) throw new HistoryRefused('no');
    };
    const store = {
      ensure: ({ match, earlier }: { match: string; earlier: string[] }) =>
        told(`ensure ${[match, ...earlier].join(' ')}`),
      retire: (match: string) => told(`retire ${match}`),
      close: () => {},
    } as unknown as HistoryStore;
    const bus = { onEvent: () => () => {} };
    clock = new FakeClock();
    histories = new RoomHistories({ store, bus, settings: () => Settings.parse({ rooms }), log, clock });
    await settled();
    calls = [];
  });

  it('are retired when their policies go, also where no policy is left, and made again when they come back', async () => {
    assert.deepEqual(await configured(), [`retire ${MATCH}`]);
    assert.deepEqual(await configured(own), [`ensure ${MATCH}`]);
    assert.deepEqual(await configured({ match: MATCH, overload: { maxRate: 5 } }), [`retire ${MATCH}`]);
  });

  it('are told of the policies before them that have some of their rooms, with a history or not', async () => {
    const plain = { match: '*-x', batching: {} };
    assert.deepEqual(
      await configured(other, plain, { match: 'chat-*', history: {} }, own),
      ['ensure live-vip-* ', 'ensure chat-* *-x', `ensure ${MATCH} live-vip-* *-x`].map((call) => call.trim()),
    );
  });

  it('are made and retired although NATS refuses others, which are tried again', async () => {
    const [first, last] = [
      { match: 'a', history: {} },
      { match: 'b', history: {} },
    ];
    refused = ['ensure a', `retire ${MATCH}`];
    assert.deepEqual(await configured(first, own), ['ensure a', `ensure ${MATCH}`]);
    assert.equal(histories.problem, 'rooms "a": no');
    assert.deepEqual(await configured(first, last), [`retire ${MATCH}`, 'ensure a', 'ensure b']);
    assert.equal(histories.problem, `rooms "${MATCH}": no`);
    // Made before it was retired, the stream would go on as the history that it was.
    assert.deepEqual(await configured(first, own, last), [`retire ${MATCH}`, 'ensure a', 'ensure b']);
    refused = [];
    await clock.pass(15_000);
    await settled();
    assert.deepEqual(calls, [`retire ${MATCH}`, 'ensure a', `ensure ${MATCH}`]);
    assert.equal(histories.problem, undefined);
  });

  it('are told what has changed in its order, however slow the store is', async () => {
    rooms = [];
    histories.configure();
    rooms = [own];
    histories.configure();
    await new Promise(setImmediate);
    assert.deepEqual(calls, [`retire ${MATCH}`], 'one call at a time');
    await settled();
    assert.deepEqual(calls.slice(0, 2), [`retire ${MATCH}`, `ensure ${MATCH}`]);
    assert.ok(calls.slice(2).every((call) => call === `ensure ${MATCH}`));
  });
});
