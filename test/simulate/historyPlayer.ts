import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { isProperty, PROPERTIES, propertyOf } from './historyProperties.ts';

/**
 * Plays schedules of one property one after the other and prints what came out as JSON. A process of its own, because the test
 * runner's hooks on promises take as long as the simulation. A schedule that failed is played again by its seed and path:
 *
 *     node test/simulate/historyPlayer.ts --property whole --seed 7 --path 12:0
 */

export type Played = { played: number /** The shortest schedule that fails. */; failure: string | undefined };

// Errors are part of many schedules, and nobody reads where they were made.
Error.stackTraceLimit = 0;

const { values } = parseArgs({
  options: {
    property: { type: 'string', default: 'whole' },
    seed: { type: 'string', default: '7' },
    runs: { type: 'string', default: '1000' },
    path: { type: 'string' },
    /** Milliseconds. Fewer schedules are played if that is over. */
    within: { type: 'string', default: '86400000' },
  },
});
const { property, seed, runs, path, within } = values;
if (!isProperty(property)) throw new Error(`--property: one of ${Object.keys(PROPERTIES).join(', ')}`);
const { check, isBroken = false } = propertyOf(property);
const result = await fc.check(check, {
  ...{ seed: Number(seed), numRuns: Number(runs), interruptAfterTimeLimit: Number(within) },
  ...(path !== undefined && { path, numRuns: 1 }),
  // What is broken on purpose needs no shortest schedule.
  endOnFailure: isBroken,
});
// Interrupted while nothing had failed is no failure.
const failed = result.failed && result.counterexample !== null;
const played: Played = { played: result.numRuns, failure: failed ? story() : undefined };
console.log(JSON.stringify(played));

function story(): string {
  const { errorInstance, counterexample, counterexamplePath } = result;
  const again = `node test/simulate/historyPlayer.ts --property ${property} --seed ${seed} --path ${counterexamplePath}`;
  const error = errorInstance instanceof Error ? errorInstance.message : errorInstance;
  return `${error}\n${JSON.stringify(counterexample)}\nPlay it again: ${again}`;
}
