import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pino } from 'pino';
import type { MoveTime } from '../ipc/move.ts';
import { settingsWith } from '../simulation/hub.ts';
import { Drain } from './drain.ts';

it('a drain gives time for the longest window of any room, and follows a change of it', async (t) => {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let settings = settingsWith({ rooms: [{ match: 'slow', batching: { maxDelay: '10s' } }] });
  const asked: MoveTime[] = [];
  const moves = {
    connections: 1_000,
    unasked: 1_000,
    askToMove: (_count: number, time: MoveTime) => asked.push(time),
    reportOften: () => () => {},
    freshCounts: async () => {},
    stopListening() {},
  };
  const drain = new Drain({
    moves,
    settings: () => settings,
    draining: () => 0,
    log: pino({ level: 'silent' }),
    changed() {},
  });
  const steps = async (count: number) => {
    for (; count > 0; count--) {
      await new Promise(setImmediate);
      now += 100;
      t.mock.timers.tick(100);
    }
  };
  drain.order(Date.now() - settings.gateway.drain.settle);
  await steps(3);
  assert.deepEqual(asked.at(-1), { withinMs: 30_000, overlapMs: 11_000 });
  settings = settingsWith();
  await steps(2);
  assert.deepEqual(asked.at(-1), { withinMs: 8_000, overlapMs: 2_000 });
  drain.order(undefined);
  await steps(2);
});

it('an ordered drain settles first, so that who is moved does not come back to it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.UTC(2026, 0, 1) });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  let asked = 0;
  const drain = new Drain({
    moves: {
      connections: 1_000,
      unasked: 1_000,
      askToMove: (count: number) => {
        asked += count;
      },
      reportOften: () => () => {},
      freshCounts: async () => {},
      stopListening: () => assert.fail('it keeps listening'),
    },
    settings: () => settingsWith({ gateway: { drain: { settle: '5s' } } }),
    draining: () => 0,
    log: pino({ level: 'silent' }),
    changed() {},
  });
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 100) {
      await new Promise(setImmediate);
      now += 100;
      t.mock.timers.tick(100);
    }
    await new Promise(setImmediate);
  };
  // The order was written two seconds ago.
  drain.order(Date.now() - 2_000);
  await pass(2_900);
  assert.equal(asked, 0);
  await pass(400);
  assert.ok(asked > 0);
  const moved = asked;
  drain.order(undefined);
  await pass(400);
  drain.order(Date.now());
  await pass(2_000);
  drain.order(undefined);
  await pass(6_000);
  assert.equal(asked, moved, 'a drain that is cancelled while it settles moves nobody');
});
