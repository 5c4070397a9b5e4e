import { spawn } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';

/**
 * `node scripts/test.ts [STAGE ...] [FILE ...]`: runs the stages in their order (all of them where none is named) and stops
 * at the first that fails. Files narrow the test stages. The last line is `N passed, N failed` over all that ran.
 */

type Outcome = { passed: number; failed: number; skipped: number };
type Stage = { name: string; title: string; run: (files: readonly string[]) => Promise<Outcome> };

const UNIT = '{protocol,runtime,gateway,logic,operator,client,standalone,scripts}/**/*.test.ts';
const INTEGRATION = 'test/integration/**/*.test.ts';

const STAGES: readonly Stage[] = [
  { name: 'types', title: 'Types (tsc)', run: () => command('node_modules/.bin/tsc', '-p', '.') },
  {
    name: 'types',
    title: 'Types of what runs in browsers',
    run: () => command('node_modules/.bin/tsc', '-p', 'gateway/console/page'),
  },
  {
    name: 'lint',
    title: 'Format and lint (biome)',
    run: () => command('node_modules/.bin/biome', 'check', '--error-on-warnings', '.'),
  },
  {
    name: 'imports',
    title: 'Direction of imports',
    run: () => command(process.execPath, 'scripts/check-imports.ts'),
  },
  {
    name: 'packages',
    title: 'Debian packages that the tests need',
    run: () => command('scripts/debian-packages.sh'),
  },
  {
    name: 'unit',
    title: 'Unit tests',
    run: (files) => tests(chosen(UNIT, files), { concurrency: 2, timeoutSeconds: 120 }),
  },
  {
    name: 'integration',
    title: 'Integration tests',
    run: (files) => tests(chosen(INTEGRATION, files), { concurrency: 1, timeoutSeconds: 600 }),
  },
];

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const named = STAGES.filter(({ name }) => args.includes(name));
  const files = args.filter((arg) => !STAGES.some(({ name }) => name === arg));
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length > 0) {
    const names = STAGES.map(({ name }) => name).join(', ');
    console.error(`no such stage or file: ${missing.join(', ')} (the stages are ${names})`);
    return 2;
  }
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  for (const stage of named.length > 0 ? named : STAGES) {
    console.log(`== ${stage.title}`);
    const began = performance.now();
    const outcome = await stage.run(files);
    total.passed += outcome.passed;
    total.failed += outcome.failed;
    total.skipped += outcome.skipped;
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    console.log(`== ${stage.title}: ${outcome.failed === 0 ? 'passed' : 'FAILED'} in ${seconds} s`);
    if (outcome.failed > 0) break;
  }
  if (total.skipped > 0) console.log(`${total.skipped} skipped`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

/** A command that passes as one, or fails. */
async function command(program: string, ...args: string[]): Promise<Outcome> {
  const { code } = await run(program, args, (text) => process.stdout.write(text));
  return code === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

/** Each file in a process of its own, at most `concurrency` at a time. */
async function tests(
  files: readonly string[],
  { concurrency, timeoutSeconds }: { concurrency: number; timeoutSeconds: number },
): Promise<Outcome> {
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  const queue = [...files];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await testFile(file, timeoutSeconds, concurrency === 1);
      total.passed += outcome.passed;
      total.failed += outcome.failed;
      total.skipped += outcome.skipped;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return total;
}

/** @param live whether its output is shown as it comes, or at its end */
async function testFile(file: string, timeoutSeconds: number, live: boolean): Promise<Outcome> {
  const began = performance.now();
  let output = '';
  let counts: Outcome | undefined;
  const { code, late } = await run(
    process.execPath,
    ['--test-reporter=./scripts/testReporter.ts', file],
    (line) => {
      // A test may have left its last line without a newline.
      const found = /^(.*)\{"passed":(\d+),"failed":(\d+),"skipped":(\d+)\}\n$/.exec(line);
      if (found) counts = { passed: Number(found[2]), failed: Number(found[3]), skipped: Number(found[4]) };
      const text = found === null ? line : found[1]!;
      if (live) process.stdout.write(text);
      else output += text;
    },
    timeoutSeconds,
  );
  process.stdout.write(output);
  const outcome = { ...(counts ?? { passed: 0, failed: 0, skipped: 0 }) };
  let note = '';
  if (late) note = `, killed: had not ended after ${timeoutSeconds} s (a test hangs, or leaves something open)`;
  else if (counts === undefined) note = `, ended with ${code} in the middle of its tests`;
  else if (code !== 0 && outcome.failed === 0) note = `, broke outside its tests (${code})`;
  if (note !== '') outcome.failed++;
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  const result =
    outcome.failed === 0 ? `${outcome.passed} passed` : `${outcome.passed} passed, ${outcome.failed} FAILED`;
  console.log(`  ${file.padEnd(50)} ${result}${note} (${seconds} s)`);
  return outcome;
}

function chosen(pattern: string, files: readonly string[]): string[] {
  const all = globSync(pattern, { exclude: (name) => name === 'node_modules' }).sort();
  return files.length === 0 ? all : all.filter((file) => files.includes(file.replace(/^\.\//, '')));
}

/**
 * Runs a program; its output comes line by line. Where it has not ended after `timeoutSeconds` it is asked to end, so
 * that it can take its own children along, and 5 s later it is killed.
 */
function run(
  program: string,
  args: readonly string[],
  line: (text: string) => void,
  timeoutSeconds = 600,
): Promise<{ code: number | NodeJS.Signals; late: boolean }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let late = false;
    let killer: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGTERM');
      killer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    }, timeoutSeconds * 1_000);
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const each of lines) line(`${each}\n`);
    });
    child.on('error', reject);
    child.on('exit', () => {
      clearTimeout(timer);
      clearTimeout(killer);
      // A process that it left behind may hold the pipe open for ever.
      setTimeout(() => child.stdout.destroy(), 1_000).unref();
    });
    child.on('close', (code, signal) => {
      if (rest !== '') line(`${rest}\n`);
      resolve({ code: code ?? signal ?? 1, late });
    });
  });
}
