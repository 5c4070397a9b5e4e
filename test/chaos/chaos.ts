import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { lineOf } from './checker.ts';
import { lossLineOf } from './lossAccounts.ts';
import { type Fault, Schedule, schedule } from './nemesis.ts';
import { type Outcome, play, SETTLE_MS } from './run.ts';
import { shortest } from './shrink.ts';

/**
 * `make chaos [FAULTS=30] [SEED=7] [SCHEDULE=FILE] [SHRINK=10]`: rooms with history, and some without, under faults.
 * Everything that publishers did and clients saw is kept in chaos-results/, and judged at the end. Exits with 1 where
 * something was lost, came twice or out of order, or a room was reset without a reason, or where a loss in a room without
 * history was not told. Then the schedule is made shorter for SHRINK minutes, and the shortest that fails is printed. A
 * schedule is kept as a file, which SCHEDULE plays again.
 */

const RESULTS = 'chaos-results';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '30' },
    seed: { type: 'string', default: '' },
    schedule: { type: 'string' },
    shrink: { type: 'string', default: '10' },
    settle: { type: 'string', default: String(SETTLE_MS) },
  },
});
const given =
  values.schedule === undefined ? undefined : Schedule.parse(JSON.parse(await readFile(values.schedule, 'utf8')));
const seed = given?.seed ?? (values.seed === '' ? Math.floor(Math.random() * 1e6) : Number(values.seed));
const count = given?.faults.length ?? Number(values.faults);
const minutes = Number(values.shrink);
if (!Number.isInteger(seed) || !Number.isInteger(count) || count < 0 || !(minutes >= 0)) {
  console.error('FAULTS and SEED must be whole numbers, and SHRINK minutes');
  process.exit(2);
}
const faults = given?.faults ?? schedule(seed, count);

console.log(`${count} faults, seed ${seed}: three NATS servers, three gateways, two logic processes`);
const outcome = await kept(faults, `${seed}-${count}`);
print(outcome);
if (outcome.problems.length > 0 && minutes > 0) await shrink();
// The last line sums the run up.
console.log(lineOf(outcome.verdict, seed));
process.exit(outcome.problems.length > 0 ? 1 : 0);

/** Plays a schedule, which is kept beside what was seen. */
async function kept(part: readonly Fault[], name: string): Promise<Outcome> {
  const folder = join(RESULTS, name);
  await mkdir(RESULTS, { recursive: true });
  await writeFile(`${folder}.json`, `${JSON.stringify({ seed, faults: part }, undefined, 2)}\n`);
  return play(part, seed, folder, Number(values.settle));
}

function print({ problems, losses, verdict }: Outcome) {
  for (const problem of problems) console.log(`  ${problem}`);
  console.log(lossLineOf(losses));
  if (verdict.cutOff > 0)
    console.log(`  go-push clients missed ${verdict.cutOff} items where the history was interrupted`);
  console.log(lineOf(verdict, seed));
}

/** A fault that comes by chance may not come again: then the schedule stays long. */
async function shrink() {
  const until = performance.now() + 60_000 * minutes;
  let runs = 0;
  const fails = async (part: readonly Fault[]) => {
    console.log(`with ${part.length} of ${count} faults:`);
    const { problems } = await kept(part, `${seed}-${count}-part-${++runs}`);
    for (const problem of problems) console.log(`  ${problem}`);
    return problems.length > 0;
  };
  const found = await shortest(faults, fails, () => performance.now() < until);
  const file = join(RESULTS, `${seed}-${count}-shortest.json`);
  await writeFile(file, `${JSON.stringify({ seed, faults: found }, undefined, 2)}\n`);
  console.log(`the shortest schedule that fails, after ${runs} runs (make chaos SCHEDULE=${file}):`);
  for (const { at, name, target, lasts } of found)
    console.log(`  ${(at / 1_000).toFixed(1)} s  ${name} (${target}), for ${(lasts / 1_000).toFixed(1)} s`);
}
