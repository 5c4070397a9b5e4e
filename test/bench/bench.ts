/**
 * The performance suite. `make bench` runs all cases; `make bench CASE=merged` runs one case, or several separated by
 * commas. `QUICK=1` is a smoke run whose figures mean nothing; `PAIRS=1` measures each figure once; `CONNECTIONS=1000`
 * sets the number of connections; `PEERS=1` adds other servers.
 * See docs/explanation/performance.md.
 */
import { stopActors } from './actor.ts';
import { bus } from './cases/bus.ts';
import { deflate } from './cases/deflate.ts';
import { drain } from './cases/drain.ts';
import { handshakes } from './cases/handshakes.ts';
import { held } from './cases/held.ts';
import { history } from './cases/history.ts';
import { latency } from './cases/latency.ts';
import { logicRate } from './cases/logicRate.ts';
import { memory } from './cases/memory.ts';
import { merged } from './cases/merged.ts';
import { peers } from './cases/peers.ts';
import { rebalance } from './cases/rebalance.ts';
import { resume } from './cases/resume.ts';
import { saturation } from './cases/saturation.ts';
import { scrape } from './cases/scrape.ts';
import { slowReaders } from './cases/slowReaders.ts';
import { small } from './cases/small.ts';
import { stored } from './cases/stored.ts';
import { window } from './cases/window.ts';
import { wire } from './cases/wire.ts';
import { describeMachine } from './machine.ts';
import { type Outcome, type Row, save, table } from './report.ts';
import type { Scale } from './scale.ts';
import { Stack } from './stack.ts';

const CASES: Record<string, (scale: Scale) => Promise<Outcome>> = {
  merged,
  history,
  saturation,
  latency,
  deflate,
  slow: slowReaders,
  memory,
  handshakes,
  held,
  drain,
  rebalance,
  resume,
  scrape,
  logic: logicRate,
  stored,
  small,
  window,
  wire,
  bus,
};

const quick = process.env.QUICK === '1';
const started = performance.now();
const scale: Scale = {
  quick,
  connections: Number(process.env.CONNECTIONS ?? (quick ? 500 : 10_000)),
  pairs: Number(process.env.PAIRS ?? (quick ? 1 : 5)),
  seconds: quick ? 2 : 6,
  progress: (text) => process.stderr.write(`[${Math.round((performance.now() - started) / 1_000)} s] ${text}\n`),
};

const all = [...Object.keys(CASES), ...(process.env.PEERS === '1' ? ['peers'] : [])];
const chosen = process.env.CASE ? process.env.CASE.split(',') : all;
const unknown = chosen.filter((name) => !(name in CASES) && name !== 'peers');
if (unknown.length > 0) {
  process.stderr.write(
    `bench: there is no case ${unknown.join(', ')}; there are: ${[...Object.keys(CASES), 'peers'].join(', ')}\n`,
  );
  process.exit(2);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopActors().finally(() => process.exit(130)));

const startedAt = new Date().toISOString();
const machine = describeMachine();
const settings = await shippedSettings();
process.stdout.write(
  `${Object.entries(machine)
    .map(([key, value]) => `${key}: ${value}`)
    .join('\n')}\n\n`,
);
process.stdout.write(
  `The gateway's settings as shipped, with this run's addresses:\n\n${settings.replace(/^/gm, '    ')}\n\n`,
);
if (quick) process.stdout.write('QUICK: a check that the bench works. Its figures mean nothing.\n\n');

const rows: Row[] = [];
const notes: string[] = [];
const data: Record<string, unknown> = {};
const failures: string[] = [];
for (const name of chosen) {
  scale.progress(`case ${name}`);
  try {
    const outcome = await (name === 'peers' ? peers : CASES[name]!)(scale);
    rows.push(...outcome.rows);
    notes.push(...(outcome.notes ?? []));
    data[name] = outcome.data;
    process.stdout.write(`${table(outcome.rows)}\n\n`);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    failures.push(`${name}: ${text}`);
    scale.progress(`case ${name} failed: ${text}`);
    if (error instanceof Error && process.env.DEBUG) process.stderr.write(`${error.stack}\n`);
  } finally {
    await stopActors();
  }
}

if (chosen.length > 1) process.stdout.write(`${table(rows)}\n\n`);
for (const note of notes) process.stdout.write(`- ${note}\n`);
for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`);
const file = save({
  startedAt,
  quick,
  machine,
  settings,
  minutes: (performance.now() - started) / 60_000,
  rows,
  notes,
  failures,
  data,
});
process.stdout.write(`\nAll measurements: ${file}\n`);
process.exit(failures.length > 0 ? 1 : 0);

async function shippedSettings(): Promise<string> {
  const stack = await Stack.start();
  try {
    const gateway = await stack.gateway();
    return gateway.printConfig().trim();
  } finally {
    await stack.stop();
  }
}
