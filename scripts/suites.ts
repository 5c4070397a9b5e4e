import type { Outcome } from './testFile.ts';

/**
 * Integration tests that run alone: they measure, or depend on timing (a lease, a rate) that other load on the machine would
 * disturb.
 */
export const ALONE: readonly string[] = [
  'test/integration/managedNats.changes.test.ts',
  'test/integration/operator-handover.test.ts',
  'test/integration/operator-lease.test.ts',
  'test/integration/rollout.simulation.test.ts',
  'test/integration/storm.test.ts',
];

/** Files that only `make nightly` runs: each takes minutes, and what they test changes rarely. */
export const NIGHTLY: readonly string[] = [
  'test/integration/autobahn.test.ts',
  'test/e2e/manyClusters.test.ts',
  'test/e2e/thousandClusters.test.ts',
  'test/e2e/product/dualStack.test.ts',
  'test/e2e/product/historyNats.test.ts',
  'test/e2e/product/loadBalancer.test.ts',
  'test/e2e/product/loadBalancerSteps.test.ts',
  'test/e2e/product/rebalance.test.ts',
  'test/e2e/product/skew.test.ts',
  'test/e2e/product/soak.test.ts',
  'test/e2e/product/storm.test.ts',
  'test/e2e/release.test.ts',
];

/** Tests of the product that `make nightly` also runs on a cluster whose nodes, pods and Services have IPv6 addresses alone. */
export const IPV6: readonly string[] = [
  'test/e2e/product/history.test.ts',
  'test/e2e/product/install.test.ts',
  'test/e2e/product/loadBalancer.test.ts',
  'test/e2e/product/operating.test.ts',
  'test/e2e/product/pushes.test.ts',
  'test/e2e/product/rebalance.test.ts',
  'test/e2e/product/rollout.test.ts',
  'test/e2e/product/scaling.test.ts',
];

/** Tests of the product that `make nightly` runs on a cluster with both families. */
export const DUAL_STACK: readonly string[] = ['test/e2e/product/dualStack.test.ts'];

/**
 * Files of a run that may fail once and then pass. A race that shows once in a thousand runs must not stop everybody's work;
 * more of them at once are a fault of what is tested.
 */
export const MAX_FLAKY = 2;

/**
 * The result of a file after its first run and, if that failed, its second. A file that failed and then passed is flaky.
 * @param flaky the files before it that were
 */
export function verdict(
  first: Outcome,
  second: Outcome | undefined,
  flaky: number,
): { outcome: Outcome; isFlaky: boolean } {
  if (first.failed === 0 || second === undefined) return { outcome: first, isFlaky: false };
  if (second.failed > 0) return { outcome: second, isFlaky: false };
  return { outcome: flaky < MAX_FLAKY ? second : { ...second, failed: 1 }, isFlaky: true };
}

/** The order in which files are started: the longest first, so that none runs alone at the end. */
export function longestFirst(files: readonly string[], isLong: (file: string) => boolean): string[] {
  return [...files.filter(isLong), ...files.filter((file) => !isLong(file))];
}
