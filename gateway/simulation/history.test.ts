import assert from 'node:assert/strict';
import { test } from 'node:test';
import found from '@pushcluster/test/simulate/foundSchedules.json' with { type: 'json' };
import { playHistories } from '@pushcluster/test/simulate/historyPlayers.ts';
import { PROPERTIES, type PropertyName, propertyOf, seeded } from '@pushcluster/test/simulate/historyProperties.ts';
import { holds, type Plan } from '@pushcluster/test/simulate/historySchedules.ts';

/**
 * Rooms with history in virtual time. `HISTORY_RUNS` and `HISTORY_SEED` set how many schedules are played, and from which
 * seed; the same ones each time without them, more of them in CI. Where the machine is busy, fewer are played.
 */

const IS_CI = Boolean(process.env.CI);
const SCHEDULES = Number(process.env.HISTORY_RUNS ?? (IS_CI ? 100_000 : 10_000));
const SEED = Number(process.env.HISTORY_SEED ?? 7);
/** The same number everywhere, so that each machine plays the same schedules. */
const PLAYERS = 2;
/** Milliseconds for all. */
const WITHIN_MS = IS_CI ? 120_000 : 30_000;
/** In so many schedules what is broken on purpose must show. */
const MISTAKE_SCHEDULES = 500;

const names = Object.keys(PROPERTIES) as PropertyName[];
const [held, broken] = [true, false].map((isHeld) => names.filter((name) => !propertyOf(name).isBroken === isHeld));

for (const { what, plan } of found)
  test(`clients are told everything, once and in order, where ${what}`, () => seeded(plan as Plan, holds));

for (const property of held!)
  test(propertyOf(property).what, async (t) => {
    const { share } = propertyOf(property);
    const plays = { property, schedules: SCHEDULES * share, seed: SEED, withinMs: WITHIN_MS * share };
    const { played, failure } = await playHistories(plays, PLAYERS);
    t.diagnostic(`${played} schedules`);
    assert.ok(played > 0);
    assert.equal(failure, undefined);
  });

for (const property of broken!)
  test(`${propertyOf(property).what} is found out`, async () => {
    const plays = { property, schedules: MISTAKE_SCHEDULES, seed: SEED, withinMs: WITHIN_MS };
    const { failure } = await playHistories(plays, PLAYERS);
    assert.ok(failure, 'no schedule shows it');
  });
