import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { NotReadyReason } from './notReadyReason.ts';
import type { Readings } from './observedGateways.ts';
import { type PodStatusSummary, type ReportedPod, summarizePodStatus } from './podStatusSummary.ts';

const READY_SINCE = '2026-01-02T03:04:05Z';
const FILE = 'a'.repeat(64);
const status = (change: Partial<PodStatus> = {}): PodStatus => ({
  version: '1',
  role: 'gateway',
  name: 'g',
  draining: false,
  connections: 100,
  settings: { generation: 7, file: FILE },
  fds: { limit: 1_000, open: 10 },
  pressure: {},
  bus: { connected: true },
  ...change,
});
const pod = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', uid: name },
  ...{ status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: READY_SINCE }] } },
});
const gateway = (name: string, more: Partial<ReportedPod> = {}): ReportedPod => ({
  ...{ pod: pod(name), role: 'gateway', isLeaving: false, isCurrent: true },
  ...more,
});

/** What pods say; a text is why one says nothing, and one that is left out was never asked. */
function report(
  pods: readonly ReportedPod[],
  says: Record<string, PodStatus | string>,
  maxConnections = 0,
  readyFor = 20_000,
  filesEach = 1,
  unmounted = new Map<string, NotReadyReason>(),
): PodStatusSummary {
  const readingOf = (uid: string) => {
    const found = says[uid];
    return typeof found === 'object' ? { status: found, at: 0 } : undefined;
  };
  const readings: Readings = {
    reading: readingOf,
    freshReading: readingOf,
    failure: (uid) => (typeof says[uid] === 'string' ? says[uid] : undefined),
  };
  const settingsFile = (role: string, at: number) => (role === 'gateway' && at === 7 ? FILE : '');
  return summarizePodStatus(
    pods,
    readings,
    { maxConnections, filesEach, settingsFile },
    Date.parse(READY_SINCE) + readyFor,
    unmounted,
  );
}

describe('what pods say of themselves, taken together', () => {
  it('is why one is not ready, of NATS too, which says nothing else', () => {
    const state = { waiting: { reason: 'ErrImagePull' } };
    const status = { phase: 'Pending', containerStatuses: [{ name: 'c', image: 'i:1', state }] };
    const stuck = (name: string) => ({ ...pod(name), ...{ status } });
    const found = report(
      [
        gateway('a', { pod: stuck('a') }),
        gateway('b', { pod: stuck('b'), isLeaving: true }),
        gateway('n', { pod: stuck('n'), role: 'nats' }),
        gateway('m', { role: 'nats' }),
      ],
      {},
    );
    assert.deepEqual(
      found.notReady.map(({ pod, role, isStuck }) => [pod, role, isStuck]),
      [
        ['a', 'gateway', true],
        ['n', 'nats', true],
      ],
    );
    assert.deepEqual([found.behind, found.silent, found.isCounted], [[], [], true]);
  });

  it('is why one waits for a volume, unless it says something else itself', () => {
    const status = {
      phase: 'Pending',
      containerStatuses: [{ name: 'c', image: 'i:1', state: { waiting: { reason: 'ErrImagePull' } } }],
    };
    const waits = (name: string, status: object) => gateway(name, { pod: { ...pod(name), ...{ status } } });
    const why = (name: string) => ({ pod: name, why: 'volume tls cannot be mounted', isStuck: true });
    const unmounted = new Map(['a', 'b', 'c'].map((name) => [name, why(name)]));
    const pods = [waits('a', { phase: 'Pending' }), waits('b', status), { ...waits('c', {}), isLeaving: true }];
    const found = report(pods, {}, 0, 0, 1, unmounted).notReady.map(({ pod, why }) => `${pod}: ${why.slice(0, 10)}`);
    assert.deepEqual(
      found,
      ['a: volume tls', 'b: image i:1 c'].map((each) => each.slice(0, 13)),
    );
  });

  it('is how many are connected, to those that leave too', () => {
    const found = report([gateway('a'), gateway('b', { isLeaving: true })], {
      a: status(),
      b: status({ connections: 9 }),
    });
    assert.deepEqual([found.connections, found.left, found.isCounted], [109, 9, true]);
    const other = report([gateway('a'), gateway('b')], { a: status() });
    assert.deepEqual([other.connections, other.left, other.isCounted], [100, undefined, false]);
  });

  it('is who refused settings, and who has not had them yet, but for pods that are on their way out', () => {
    const refused = status({ settings: { generation: 6, file: 'b'.repeat(64), refused: 'rooms[0] must be' } });
    const older = status({ settings: { generation: 6, file: 'b'.repeat(64) } });
    const pods = [
      gateway('a'),
      gateway('b'),
      gateway('c'),
      gateway('d', { isCurrent: false }),
      gateway('e', { isLeaving: true }),
    ];
    const found = report(pods, { a: refused, b: older, c: status(), d: refused, e: older });
    assert.deepEqual(found.refusals, [{ pod: 'a', message: 'rooms[0] must be' }]);
    assert.deepEqual(found.behind, [{ uid: 'b', pod: 'b' }]);
  });

  it('is who ignores settings since it is of another version', () => {
    const settings = { ...status().settings, ignored: 'gateway.mirror: unknown key' };
    const found = report([gateway('a'), gateway('b')], { a: status({ settings, version: '0.2.0' }), b: status() });
    assert.deepEqual(found.ignored, [{ pod: 'a', version: '0.2.0', message: 'gateway.mirror: unknown key' }]);
    assert.deepEqual([found.behind, found.refusals], [[], []]);
  });

  it('is who cannot set up histories, but for pods that are on their way out', () => {
    const failing = { ...status(), historyFailed: 'rooms "a": JetStream: no' };
    const found = report([gateway('a'), gateway('b', { isLeaving: true })], { a: failing, b: failing });
    assert.deepEqual(found.historyFailures, [{ pod: 'a', message: 'rooms "a": JetStream: no' }]);
  });

  it('is who may open too few files, where a number of connections is wanted', () => {
    assert.deepEqual(report([gateway('a')], { a: status() }, 5_000).fdLimits, [
      { pod: 'a', limit: 1_000, wanted: 5_000, each: 1 },
    ]);
    assert.deepEqual(report([gateway('a')], { a: status() }, 0).fdLimits, []);
    assert.deepEqual(report([gateway('a')], { a: status() }, 500).fdLimits, []);
    assert.deepEqual(report([gateway('a')], { a: status() }, 500, 20_000, 3).fdLimits, [
      { pod: 'a', limit: 1_000, wanted: 500, each: 3 },
    ]);
  });

  it('is which gateway is nearest to its limits, and which pods say nothing', () => {
    const pods = [gateway('a'), gateway('b'), gateway('c'), gateway('d', { isLeaving: true })];
    const found = report(pods, {
      a: status({ pressure: { memory: 0.5, loop: 0.9 } }),
      b: status({ pressure: { fds: 0.8 } }),
      c: 'no response within 2 s',
      d: 'it is about to end',
    });
    assert.deepEqual(found.fullest, { pod: 'a', what: 'loop', share: 0.9 });
    assert.deepEqual(found.silent, [{ pod: 'c', why: 'no response within 2 s' }]);
    // Asked before it was ready, it had no answer.
    assert.deepEqual(report([gateway('c')], { c: 'nobody is there' }, 0, 19_999).silent, []);
  });
});
