import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { clusterName } from '../test/harness/cluster/clusterName.ts';
import { ALONE, DUAL_STACK, IPV6, longestFirst, MAX_FLAKY, NIGHTLY, verdict } from './suites.ts';
import { type Outcome, runProgram, runTestFile } from './testFile.ts';

/**
 * `node scripts/test.ts [nightly] [STAGE ...] [FILE ...]`: runs the stages in order and stops at the first that fails.
 * Without a stage it runs all except e2e, ipv6, dualstack, images and keda. Files restrict the test stages. With `nightly` the stages run
 * the files that only a nightly run has, and a failed stage does not stop the others. The last line is `N passed, N failed`
 * over all stages.
 */

type Stage = {
  name: string;
  title: string;
  run: (files: readonly string[]) => Promise<Outcome>;
  /** It runs only if it is named. */
  apart?: true;
};

const UNIT =
  '{protocol,runtime,gateway,logic,operator,client,standalone,scripts,test/simulate,test/chaos}/**/*.test.ts';
const INTEGRATION = 'test/integration/**/*.test.ts';
/** Tests of the cluster itself, and tests that share one cluster. */
const E2E_CLUSTER = 'test/e2e/*.test.ts';
const E2E_PRODUCT = 'test/e2e/product/*.test.ts';
const IMAGES = 'test/images/*.test.ts';
const KEDA = 'test/keda/*.test.ts';
/** They run only if they are named, nightly or not. */
const APART = [IMAGES, KEDA];
/** It needs the images of the baseline. */
const SKEW = 'test/e2e/product/skew.test.ts';
const SHARED = clusterName('tests');
/** The kubeconfig of a cluster that the harness started, such as that of `make cluster`. */
const MADE_HERE = /^\/var\/lib\/pushcluster\/([a-z][a-z0-9-]*)\/control-plane\/kubeconfig$/;
const NOTHING: Outcome = { passed: 0, failed: 0, skipped: 0 };
/** In CI a file that failed is run once more. If it passes then, it is reported as flaky, with its first failure. */
const IS_CI = Boolean(process.env.CI);
const NIGHTLY_RUN = 'nightly';
/** Repeated at the end, because some readers see only the end of a log. */
const said = { failed: [] as string[], flaky: [] as string[], flakyFiles: 0 };
const CLUSTER = 'test/harness/cluster/main.ts';
/** Text of a file that starts a Kubernetes control plane. */
const STARTS_CONTROL_PLANE = 'startControlPlane(';
/** Files that run in parallel: one more than processors, because each waits for timers and servers half of its time. */
const SIDE_BY_SIDE = availableParallelism() + 1;
/** Compiling the programs takes minutes on a new machine, and more on a busy one. */
const BUILD_SECONDS = 3_000;
/** A file that only a nightly run has may take this long; `make soak` takes the longest. */
const NIGHTLY_SECONDS = 7_200;

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
    name: 'tools',
    title: 'Programs of a Kubernetes control plane (built once)',
    run: () => build('scripts/kube-tools.sh', 'control-plane'),
  },
  {
    name: 'tools',
    title: 'prometheus-adapter (built once)',
    run: () => build('scripts/go-program.sh', 'prometheus-adapter'),
  },
  {
    name: 'unit',
    title: 'Unit tests',
    run: (files) => tests(chosen(UNIT, files), { concurrency: 2, timeoutSeconds: 300 }),
  },
  {
    name: 'integration',
    title: 'Integration tests',
    run: integration,
  },
  {
    name: 'chaos',
    title: 'Rooms with history under faults',
    run: () => command(process.execPath, 'test/chaos/chaos.ts', '--faults', '30', '--seed', '2'),
  },
  {
    name: 'e2e',
    title: 'Debian packages that a cluster needs',
    run: () => command('scripts/debian-packages.sh', 'cluster'),
    apart: true,
  },
  {
    name: 'e2e',
    title: 'Programs of a Kubernetes cluster (built once)',
    run: () => build('scripts/kube-tools.sh', 'cluster'),
    apart: true,
  },
  {
    name: 'e2e',
    title: 'Prometheus with discovery in Kubernetes (built once)',
    run: () => build('scripts/go-program.sh', 'prometheus'),
    apart: true,
  },
  {
    name: 'e2e',
    title: 'End-to-end tests on a real Kubernetes',
    run: e2e,
    apart: true,
  },
  {
    name: 'ipv6',
    title: 'End-to-end tests on a real Kubernetes with IPv6 only',
    run: (files) => e2eWith('IPv6', files.length > 0 ? files : IPV6),
    apart: true,
  },
  {
    name: 'dualstack',
    title: 'End-to-end tests on a real Kubernetes with IPv4 and IPv6',
    run: (files) => e2eWith('DualStack', files.length > 0 ? files : DUAL_STACK),
    apart: true,
  },
  {
    name: 'images',
    title: 'Images for another processor',
    run: (files) => tests(chosen(IMAGES, files), { concurrency: 1, timeoutSeconds: 900 }),
    apart: true,
  },
  {
    name: 'keda',
    title: 'KEDA (built once)',
    run: () => build('scripts/keda.sh'),
    apart: true,
  },
  {
    name: 'keda',
    title: 'Autoscaling by KEDA itself',
    run: (files) => tests(chosen(KEDA, files), { concurrency: 1, timeoutSeconds: 600 }),
    apart: true,
  },
];

const isNightly = process.argv.includes(NIGHTLY_RUN);
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const named = STAGES.filter(({ name }) => args.includes(name));
  const files = args.filter((arg) => arg !== NIGHTLY_RUN && !STAGES.some(({ name }) => name === arg));
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length > 0) {
    const names = [...new Set(STAGES.map(({ name }) => name))].join(', ');
    console.error(`no such stage or file: ${missing.join(', ')} (the stages are ${names})`);
    return 2;
  }
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  for (const stage of named.length > 0 ? named : STAGES.filter(({ apart }) => !apart)) {
    console.log(`== ${stage.title}`);
    const began = performance.now();
    const outcome = await stage.run(files);
    total.passed += outcome.passed;
    total.failed += outcome.failed;
    total.skipped += outcome.skipped;
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    console.log(`== ${stage.title}: ${outcome.failed === 0 ? 'passed' : 'FAILED'} in ${seconds} s`);
    if (outcome.failed > 0 && !isNightly) break;
  }
  if (said.flaky.length > 0) console.log(['== Flaky: failed, and passed at the second run', ...said.flaky].join('\n'));
  if (said.failed.length > 0) console.log(['== Failed', ...said.failed].join('\n'));
  if (total.skipped > 0) console.log(`${total.skipped} skipped`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

/** A command that counts as one test. */
async function command(program: string, ...args: string[]): Promise<Outcome> {
  const { code } = await runProgram(program, args, (text) => process.stdout.write(text));
  return code === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

/** Files that measure run one at a time; the others in parallel, those with a control plane first, because they take longest. */
async function integration(files: readonly string[]): Promise<Outcome> {
  const all = chosen(INTEGRATION, files);
  const alone = all.filter((file) => ALONE.includes(file));
  const beside = all.filter((file) => !ALONE.includes(file));
  const options = { timeoutSeconds: 900 };
  const isLong = (file: string) => readFileSync(file, 'utf8').includes(STARTS_CONTROL_PLANE);
  if (all.length === 0 || alone.length === 0)
    return tests(longestFirst(beside, isLong), { ...options, concurrency: Math.min(SIDE_BY_SIDE, all.length) });
  const total = await tests(alone, { ...options, concurrency: 1 });
  if (beside.length === 0) return total;
  return sum(total, await tests(longestFirst(beside, isLong), { ...options, concurrency: SIDE_BY_SIDE }));
}

/** If the harness started the cluster, tests run in the network of its clients, which reach pods and Services. */
async function e2e(files: readonly string[]): Promise<Outcome> {
  const options = { concurrency: 1, timeoutSeconds: 900 };
  const own = chosen(E2E_CLUSTER, files);
  const product = chosen(E2E_PRODUCT, files);
  const kubeconfig = process.env.KUBECONFIG;
  if (kubeconfig) {
    const [, name] = MADE_HERE.exec(resolve(kubeconfig)) ?? [];
    if (name === undefined) return tests([...own, ...product], options);
    const within = [process.execPath, CLUSTER, 'exec', name];
    const total = own.length > 0 ? await tests(own, options) : NOTHING;
    return product.length > 0 ? sum(total, await tests(product, { ...options, within })) : total;
  }
  const total = own.length > 0 || product.length === 0 ? await tests(own, options) : NOTHING;
  if (product.length === 0) return total;
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      spawnSync(process.execPath, [CLUSTER, 'down', SHARED], { stdio: 'inherit' });
      process.exit(1);
    });
  try {
    const needs = product.some((file) => file === SKEW) ? ['baseline'] : [];
    const shared = await build(process.execPath, CLUSTER, 'share', SHARED, ...needs);
    if (shared.failed > 0) return sum(total, { ...shared, passed: 0 });
    const within = [process.execPath, CLUSTER, 'exec', SHARED];
    return sum(total, await tests(product, { ...options, within }));
  } finally {
    await command(process.execPath, CLUSTER, 'down', SHARED);
  }
}

/** On a cluster with addresses of this family. */
function e2eWith(family: string, files: readonly string[]): Promise<Outcome> {
  process.env.IP_FAMILY = family;
  return e2e(files).finally(() => delete process.env.IP_FAMILY);
}

function sum(a: Outcome, b: Outcome): Outcome {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

async function build(program: string, ...args: string[]): Promise<Outcome> {
  const { code } = await runProgram(program, args, (text) => process.stdout.write(text), BUILD_SECONDS);
  return code === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

/** Each file in a process of its own, at most `concurrency` at a time. */
async function tests(
  files: readonly string[],
  { concurrency, timeoutSeconds, within = [] }: { concurrency: number; timeoutSeconds: number; within?: string[] },
): Promise<Outcome> {
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  if (files.length === 0) {
    console.log('no test files here');
    return { ...total, failed: 1 };
  }
  const queue = [...files];
  const run = async (file: string) => {
    const began = performance.now();
    // The output of files that run one at a time is shown as it comes.
    let output = '';
    const show = (text: string) => {
      if (concurrency === 1) process.stdout.write(text);
      else output += text;
    };
    const { note, failures, ...outcome } = await runTestFile(
      file,
      NIGHTLY.includes(file) ? NIGHTLY_SECONDS : timeoutSeconds,
      show,
      within,
    );
    process.stdout.write(output);
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    const failed = outcome.failed === 0 ? '' : `, ${outcome.failed} FAILED`;
    console.log(`  ${file.padEnd(50)} ${outcome.passed} passed${failed}${note} (${seconds} s)`);
    return { outcome, failures: failures.map((line) => `  ${file}: ${line}`) };
  };
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const first = await run(file);
      const second = first.outcome.failed > 0 && IS_CI ? await run(file) : undefined;
      const { outcome, isFlaky } = verdict(first.outcome, second?.outcome, said.flakyFiles);
      if (isFlaky) {
        said.flakyFiles++;
        said.flaky.push(...first.failures);
        if (outcome.failed > 0) said.failed.push(`  ${file}: flaky, as ${MAX_FLAKY} files before it`);
      } else said.failed.push(...(second ?? first).failures);
      total.passed += outcome.passed;
      total.failed += outcome.failed;
      total.skipped += outcome.skipped;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return total;
}

/** Files of a pattern: those that were named, otherwise those of this kind of run. */
function chosen(pattern: string, files: readonly string[]): string[] {
  const all = globSync(pattern, { exclude: (name) => name === 'node_modules' }).sort();
  if (files.length > 0) return all.filter((file) => files.includes(file.replace(/^\.\//, '')));
  return APART.includes(pattern) ? all : all.filter((file) => NIGHTLY.includes(file) === isNightly);
}
