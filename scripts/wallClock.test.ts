import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

/**
 * The wall clock of a machine may step: NTP, an administrator or a resumed virtual machine sets it. Therefore
 * durations, deadlines and rates are measured with `performance.now()` or `now()` of a Clock. Files that need the time
 * of day are listed here, with the number of reads and the reason.
 */
const ALLOWED: Record<string, { uses: number; why: string }> = {
  'client/clock.ts': { uses: 3, why: "the Clock's `wall`" },
  'client/connection.ts': {
    uses: 5,
    why: "`exp` of a token is a time of day; a frame's `at` is shown; when something was heard is kept for another page",
  },
  'client/history.ts': { uses: 1, why: 'how long ago another page was current; and the other clock may have slept' },
  'gateway/console/page/echoTab.js': { uses: 1, why: 'shown in a log' },
  'gateway/console/page/roomTab.js': { uses: 2, why: 'shown in a list' },
  'gateway/moves/drain.ts': {
    uses: 1,
    why: 'against the time in drain.file, which the operator wrote; bounded on both sides',
  },
  'gateway/gateway.ts': { uses: 1, why: 'the time of its start, as a metric' },
  'gateway/hub/guardedClock.ts': { uses: 1, why: "the Clock's `wall`" },
  'gateway/hub/userSessions.ts': { uses: 3, why: 'where the order of sessions begins, and what older gateways read' },
  'gateway/simulation/startedHub.ts': { uses: 1, why: 'sets the fake clock of tests' },
  'gateway/shard/broadcaster.ts': {
    uses: 1,
    why: 'against the time at which logic accepted: set clocks are set for both',
  },
  'gateway/shard/main.ts': { uses: 1, why: '`exp` of tokens is a time of day' },
  'logic/publish/publisher.ts': { uses: 1, why: 'the time at which it accepted, for gateways' },
  'operator/podStatus/podStatusPoller.ts': {
    uses: 1,
    why: 'against what objects say; the age of a reading goes by `now`',
  },
  'operator/kube/elector.ts': {
    uses: 5,
    why: 'written into the lease, and whether it is long abandoned; that it is held is judged by `now`',
  },
  'operator/kube/eventRecorder.ts': { uses: 3, why: 'written into events' },
  'operator/main.ts': {
    uses: 1,
    why: 'against when the API server says that a pod was ready; at worst it is asked too often',
  },
  'operator/metricsApi/gatewaySource.ts': { uses: 1, why: 'the timestamp of a value; its age goes by `now`' },
  'operator/metricsApi/certificateRotator.ts': { uses: 1, why: 'certificates hold from and to times of day' },
  'operator/pushcluster/scalePlanner.ts': {
    uses: 1,
    why: 'drains are dated in annotations, for the operator that takes over',
  },
  'operator/pushcluster/reconciler.ts': {
    uses: 6,
    why: 'written into conditions and events, compared with those of objects',
  },
  'runtime/history/localHistory.ts': {
    uses: 2,
    why: 'told to readers as the time of storing, and as the present one beside it',
  },
  'runtime/clock.ts': { uses: 2, why: "the Clock's `wall`" },
  'runtime/watchedFile.ts': { uses: 1, why: "against a file's times" },
};

const WALL = /\bDate\.now\b|\bDate\(\)|\btimeOrigin\b|\bwall(\?\.)?\(\)|\bwallTime\(/g;

/** The product's files without comments, because comments may mention clocks. */
function* sources(): Generator<[path: string, source: string]> {
  const files = globSync('{protocol,runtime,gateway,logic,operator,standalone,client}/**/*.{ts,js}', {
    exclude: (name) => name === 'node_modules' || name === 'dist',
  });
  assert.ok(files.length > 200, 'run from the root of the repository');
  for (const path of files) {
    if (/\.test\.ts$|[sS]imulation\.ts$|fakeClock\.ts$/.test(path)) continue;
    yield [path, readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*/g, '')];
  }
}

/** Number of reads of the wall clock, by file. */
function uses(): Map<string, number> {
  const found = new Map<string, number>();
  for (const [path, source] of sources()) {
    const count = source.match(WALL)?.length ?? 0;
    if (count > 0) found.set(path, count);
  }
  return found;
}

test('the time of day is read only where it is meant: anything else is measured by a clock that is never set', () => {
  const found = uses();
  const problems: string[] = [];
  for (const [path, count] of found) {
    const allowed = ALLOWED[path]?.uses ?? 0;
    if (count > allowed)
      problems.push(`${path} reads the wall clock ${count} times, not ${allowed}: use a Clock's now, or say why here`);
  }
  for (const [path, { why }] of Object.entries(ALLOWED)) {
    assert.ok(why.length > 10, path);
    const count = found.get(path) ?? 0;
    if (count === 0) problems.push(`${path} reads the wall clock no more: take it off the list`);
  }
  assert.deepEqual(problems, []);
});

test('a duration is measured by one clock: two of different origins, compared, would be wrong without an error', () => {
  // The pages of the console run in browsers, the SDK has its own clock, and a tool stops when its time is over.
  const allowed = ['runtime/clock.ts', 'client/clock.ts', 'client/positions.ts', 'client/trial.ts'];
  const found = [...sources()].filter(([, source]) => /\bperformance\.now\b|\bhrtime\b/.test(source));
  const others = found
    .map(([path]) => path)
    .filter((path) => !allowed.includes(path) && !path.startsWith('gateway/console/page/'));
  assert.deepEqual(others, [], 'use now() of a Clock: systemClock in runtime/clock.ts');
});
