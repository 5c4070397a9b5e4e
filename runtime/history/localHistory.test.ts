import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusUnavailable } from '../bus/bus.ts';
import { LocalBus } from '../bus/localBus.ts';
import { FakeClock } from '../fakeClock.ts';
import { createLog } from '../log.ts';
import type { HistoryRules } from './historyStore.ts';
import { LocalHistory } from './localHistory.ts';

const MINUTE_MS = 60_000;
const PUSH = Buffer.alloc(524_288);
/** Pushes that fit in. */
const ROOM_FOR = 512;

const rulesOf = (match: string): HistoryRules => ({
  match,
  ...{ messages: 1_000, maxAge: 60 * MINUTE_MS, replicas: 1, storage: 'memory', earlier: [] },
});

describe('the histories of a process that are full', () => {
  let clock: FakeClock;
  let history: LocalHistory;
  let ids = 0;

  beforeEach(async () => {
    clock = new FakeClock();
    const bus = new LocalBus(createLog('test', 'error'));
    history = new LocalHistory(bus, new Subjects('test'), clock);
    for (const match of ['a-*', 'b-*']) await history.ensure(rulesOf(match));
  });

  const append = (match: string, room: string) => history.append(match, room, PUSH, String(ids++));
  const fill = async (match: string, room: string, count: number) => {
    for (let i = 0; i < count; i++) await append(match, room);
  };
  const pushes = async (match: string) => (await history.usage(match)).pushes;

  it('refuse a push, and take it once those of another policy have expired', async () => {
    await fill('a-*', 'a-1', ROOM_FOR);
    await assert.rejects(append('b-*', 'b-1'), BusUnavailable);
    clock.advance(60 * MINUTE_MS);
    assert.equal((await append('b-*', 'b-1')).seq, 1);
  });

  it('take it once pushes of a room have expired that has later ones', async () => {
    await fill('a-*', 'a-1', ROOM_FOR - 2);
    clock.advance(30 * MINUTE_MS);
    await append('a-*', 'a-2');
    await append('a-*', 'a-1');
    await assert.rejects(append('b-*', 'b-1'), BusUnavailable);
    clock.advance(30 * MINUTE_MS);
    assert.equal((await append('b-*', 'b-1')).seq, 1);
    assert.equal(await pushes('a-*'), 2);
  });

  it('take it once a policy was removed', async () => {
    await fill('a-*', 'a-1', ROOM_FOR);
    await assert.rejects(append('b-*', 'b-1'), BusUnavailable);
    await history.retire('a-*');
    assert.equal((await append('b-*', 'b-1')).seq, 1);
  });
});
