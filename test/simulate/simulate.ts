/**
 * `make simulate`: simulates the worked examples of the capacity plan, and a small cluster, through a gateway's
 * failure, a rollout and a reconnect storm. Prints the results and writes pictures to simulate-results/. `SEED=7` sets
 * another random seed. `DOCS=1` instead writes the figures and pictures of docs/explanation/capacity.md.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { documents } from './documents.ts';
import { compared, MEASURED_ROLLOUT, parseRollout, SHIPPED_ROLLOUT, TOLERANCE } from './rollout.ts';
import { fileOf, picture, runs, summary } from './scenarios.ts';

const root = join(import.meta.dirname, '../..');
const seed = Number(process.env.SEED ?? 1);
if (!Number.isInteger(seed)) throw new Error(`SEED is ${process.env.SEED}: it should be a whole number`);

const write = (file: string, text: string) => {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
  console.log(`wrote ${file}`);
};

if (process.env.DOCS === '1') for (const [file, text] of documents()) write(file, text);
else {
  const all = runs(seed);
  console.log(`${summary(all)}\n`);
  const isMeasured = existsSync(join(root, MEASURED_ROLLOUT));
  if (!isMeasured)
    console.log(
      'No rollout was measured here yet: `make test` and `make e2e` do. Held against the one that comes with the project:\n',
    );
  check(readFileSync(join(root, isMeasured ? MEASURED_ROLLOUT : SHIPPED_ROLLOUT), 'utf8'));
  for (const run of all) write(join('simulate-results', fileOf(run)), picture(run));
}

/** Compares the simulation with the measured rollout. */
function check(text: string) {
  const comparison = compared(parseRollout(text));
  console.log(`${comparison.text}\n`);
  if (Math.abs(comparison.apart) <= TOLERANCE) return;
  console.log(`That is more than ${100 * TOLERANCE} %: the simulation does not hold here.\n`);
  process.exitCode = 1;
}
