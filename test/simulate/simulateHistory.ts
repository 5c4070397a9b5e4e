import { parseArgs } from 'node:util';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { playHistories } from './historyPlayers.ts';
import { PROPERTIES, type PropertyName, propertyOf } from './historyProperties.ts';

/** `make simulate-history`: plays many schedules of rooms with history, and prints the shortest one that fails. */

/** Longer than anybody waits. */
const A_DAY_MS = 86_400_000;

const { values } = parseArgs({
  options: { schedules: { type: 'string', default: '100000' }, seed: { type: 'string', default: '7' } },
});
const [schedules, seed] = [Number(values.schedules), Number(values.seed)];
if (!(schedules >= 1) || !Number.isInteger(seed)) throw new Error('SCHEDULES and SEED are whole numbers');

let failed = false;
for (const property of Object.keys(PROPERTIES) as PropertyName[]) {
  const { what, share } = propertyOf(property);
  if (share === 0) continue;
  const began = systemClock.now();
  const plays = { property, schedules: schedules * share, seed, withinMs: A_DAY_MS };
  const { played, failure } = await playHistories(plays);
  const seconds = (systemClock.now() - began) / 1_000;
  console.log(`${what}: ${played} schedules in ${seconds.toFixed(0)} s${failure === undefined ? '' : ', FAILED'}`);
  if (failure === undefined) continue;
  console.error(failure);
  failed = true;
}
process.exitCode = failed ? 1 : 0;
