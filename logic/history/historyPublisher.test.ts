import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type HistoryPolicy, historyOf } from '@pushcluster/protocol/roomPolicies.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import {
  HistoryMissing,
  HistoryRefused,
  type HistoryStore,
  type StoredPush,
  type StreamState,
} from '@pushcluster/runtime/history/historyStore.ts';
import type { CounterAnnouncements } from '../publish/counterAnnouncements.ts';
import { ItemCounters } from '../publish/itemCounters.ts';
import type { PublisherHeartbeat } from '../publish/publisherHeartbeat.ts';
import { HistoryPublisher } from './historyPublisher.ts';
import { RoomHistories } from './roomHistories.ts';

const settings = Settings.parse({ rooms: [{ match: '*', history: {} }] });
const policy = historyOf(settings.rooms[0]!) as HistoryPolicy;
const log = { error: () => {}, info: () => {} };

/** A stream that a test replaces by another one. */
class FakeStream {
  epoch = 'first';
  pushes: StoredPush[] = [];
  appends = 0;
  /** Called once the next push is stored, and not answered yet. */
  onStored: () => void = () => {};
  /** The next questions for its state fail. */
  failures = 0;
  /** It cannot be made. */
  refuses = false;

  readonly store = {
    ensure: async () => {
      if (this.refuses) throw new HistoryRefused('replicas > 1 not supported');
    },
    append: async (_match: string, _room: string, bytes: Uint8Array) => {
      this.appends++;
      const seq = this.pushes.length + 1;
      this.pushes.push({ seq, at: 0, bytes });
      this.onStored();
      return { seq, duplicate: false };
    },
    read: async (_match: string, _room: string, from: number) => ({
      pushes: this.pushes.filter(({ seq }) => seq >= from),
      pending: 0,
    }),
    state: async (): Promise<StreamState> => {
      if (this.refuses) throw new HistoryMissing('stream not found');
      if (this.failures-- > 0) throw new BusUnconfirmed('no answer');
      return { epoch: this.epoch, last: this.pushes.length, floor: 0, messages: 100, maxAge: 3_600_000 };
    },
    renew: async (_match: string, epoch: string) => {
      if (this.epoch === epoch) this.epoch = `after ${epoch}`;
    },
    close: () => {},
  } as unknown as HistoryStore;

  /** Another stream takes its place. */
  replace(epoch: string, pushes: StoredPush[] = []) {
    Object.assign(this, { epoch, pushes, onStored: () => {} });
  }
}

describe('a push to a room with a history', () => {
  let stream: FakeStream;
  let events: (() => void)[];
  let publisher: HistoryPublisher;

  const publisherBy = (clock: Clock) => {
    const bus = {
      onEvent: (listener: (event: { type: 'disconnected' }) => void) => {
        events.push(() => listener({ type: 'disconnected' }));
        return () => {};
      },
    };
    const { store } = stream;
    return new HistoryPublisher({
      ...{ store, clock },
      histories: new RoomHistories({ ...{ store, clock, log }, bus: bus as never, settings: () => settings }),
      subjects: new Subjects('p'),
      heartbeat: { refresh: () => {}, number: 1 } as PublisherHeartbeat,
      counters: new ItemCounters('p', () => 0),
      announcements: { pushed: () => {} } as unknown as CounterAnnouncements,
      ...{ now: () => 0, timeout: () => 10_000 },
      ...{ onStored: () => {}, onRetry: () => {}, onDuplicate: () => {}, onRefused: () => {} },
    });
  };

  beforeEach(() => {
    stream = new FakeStream();
    events = [];
    publisher = publisherBy(systemClock);
  });

  let texts = 0;
  const publish = () => {
    const text = Buffer.from(`push ${texts++}`);
    return publisher.publish(policy, 'r', [{ itemCount: 1, retriable: false, encode: () => text }], '');
  };
  /** What logic knew of the stream is asked for anew. */
  const forget = () => {
    for (const event of events) event();
  };

  it('is answered with its place', async () => {
    assert.deepEqual(
      [await publish(), await publish()],
      [
        { seq: 1, epoch: 'first' },
        { seq: 2, epoch: 'first' },
      ],
    );
  });

  it('is stored again where the history that stored it is gone before it is answered', async () => {
    await publish();
    stream.onStored = () => {
      stream.replace('second');
      forget();
    };
    assert.deepEqual(await publish(), { seq: 1, epoch: 'second' });
    assert.deepEqual([stream.appends, stream.pushes.length], [3, 1]);
  });

  it('is not stored over and over without a pause where nobody has it, and says why it is unconfirmed', async () => {
    const clock = new FakeClock();
    publisher = publisherBy(clock);
    await publish();
    stream.onStored = () => {
      stream.epoch = `${stream.epoch}+`;
      forget();
    };
    stream.store.read = async () => ({ pushes: [], pending: 0 });
    const outcome = assert.rejects(publish(), (error) => {
      return error instanceof BusUnconfirmed && /history/.test(error.message);
    });
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    assert.equal(stream.appends, 2);
    await clock.pass(15_000);
    await outcome;
  });

  it('is not tried where the store refuses to make the history, until it does not', async () => {
    const clock = new FakeClock();
    stream.refuses = true;
    publisher = publisherBy(clock);
    await new Promise(setImmediate);
    const isTold = (error: unknown) =>
      error instanceof BusUnavailable && error.cause instanceof HistoryRefused && /replicas/.test(error.message);
    await assert.rejects(publish(), isTold);
    stream.refuses = false;
    await clock.pass(1_000);
    assert.deepEqual(await publish(), { seq: 1, epoch: 'first' });
  });

  it('is answered with the place in another history, if that has it', async () => {
    await publish();
    stream.onStored = () => {
      stream.replace('second', stream.pushes);
      forget();
    };
    assert.deepEqual(await publish(), { seq: 2, epoch: 'second' });
    assert.equal(stream.appends, 2);
  });

  it('waits for an answer about a stream that was set back', async () => {
    for (let i = 0; i < 3; i++) await publish();
    stream.pushes.length = 1;
    stream.onStored = () => {
      stream.failures = 2;
      forget();
    };
    assert.deepEqual(await publish(), { seq: 2, epoch: 'after first' });
  });
});
