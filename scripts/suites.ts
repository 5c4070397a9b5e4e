import type { Outcome } from './testFile.ts';

/**
 * Integration tests that need the processors for themselves: they measure, or hold a process against a clock of its own
 * (a lease, a pace) that a busy neighbour would move.
 */
export const ALONE: readonly string[] = [
  'test/integration/operator-handover.test.ts',
  'test/integration/operator-lease.test.ts',
  'test/integration/storm.test.ts',
];

/** Files that `make nightly` alone runs: they take minutes each, and what they look at seldom changes. */
export const NIGHTLY: readonly string[] = [
  'test/integration/autobahn.test.ts',
  'test/e2e/manyClusters.test.ts',
  'test/e2e/product/rebalance.test.ts',
  'test/e2e/product/storm.test.ts',
];

export type KnownFlaky = {
  file: string;
  /** Why it may fail once, and what will mend it. */
  reason: string;
  /** The day on which it was listed, as YYYY-MM-DD. */
  since: string;
};

/** Files whose first failure CI forgives where a second run passes. Keep it short: each is a bug to mend. */
export const KNOWN_FLAKY: readonly KnownFlaky[] = [];

/**
 * What a file counts as after a first run, and a second one where it failed. One that failed and then passed is flaky, and
 * counts as one failure unless it is known to be.
 */
export function verdict(
  file: string,
  first: Outcome,
  second: Outcome | undefined,
  known: readonly KnownFlaky[] = KNOWN_FLAKY,
): { outcome: Outcome; flaky: boolean; forgiven?: KnownFlaky } {
  if (first.failed === 0 || second === undefined) return { outcome: first, flaky: false };
  if (second.failed > 0) return { outcome: second, flaky: false };
  const forgiven = known.find((entry) => entry.file === file);
  if (forgiven) return { outcome: second, flaky: true, forgiven };
  return { outcome: { ...second, failed: 1 }, flaky: true };
}

/** The order in which files are begun: those that take longest first, so that none is left over at the end. */
export function longestFirst(files: readonly string[], isLong: (file: string) => boolean): string[] {
  return [...files.filter(isLong), ...files.filter((file) => !isLong(file))];
}
