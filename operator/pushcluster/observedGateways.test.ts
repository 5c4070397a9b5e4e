import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { KubeObject } from '../kube/objects.ts';
import { looksOf, observedGateways, podPatch, type Readings } from './observedGateways.ts';

const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
const silence: Readings = { reading: () => undefined, freshReading: () => undefined, failure: () => undefined };
const STATUS: PodStatus = {
  ...{ version: '1.0.0', role: 'gateway', name: 'g', draining: false, connections: 5 },
  settings: { generation: 1, file: 'a'.repeat(64) },
  fds: { limit: 1_000, open: 10 },
  pressure: {},
  bus: { connected: true },
};
const template = (image: string, hash?: string) => ({
  metadata: { labels: { app: 'live', ...(hash === undefined ? {} : { 'pod-template-hash': hash }) } },
  spec: { containers: [{ name: 'gateway', image }] },
});
const deployment = (image: string): KubeObject => ({
  ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'live-gateway', uid: 'deployment' } },
  ...{ spec: { replicas: 2, template: template(image) } },
});
const replicaSet = (image: string, hash: string, owner = 'deployment'): KubeObject => ({
  ...{ apiVersion: 'apps/v1', kind: 'ReplicaSet' },
  metadata: {
    name: `live-gateway-${hash}`,
    labels: { 'pod-template-hash': hash },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'live-gateway', uid: owner }],
  },
  ...{ spec: { replicas: 2, template: template(image, hash) } },
});
const pod = (name: string, hash: string, status: object = {}, metadata: object = {}): KubeObject => ({
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name, uid: name, labels: { 'pod-template-hash': hash, 'pushcluster.dev/serving': 'true' }, ...metadata },
  ...{ status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }], ...status } },
});

describe('the gateways as they are', () => {
  it('are current where their ReplicaSet has the template of the Deployment, also when that is taken back', () => {
    const sets = [replicaSet('a:1', 'one'), replicaSet('a:2', 'two'), replicaSet('a:3', 'three', 'somebody else')];
    const pods = [pod('p', 'one'), pod('q', 'two')];
    const current = (image: string) =>
      observedGateways(deployment(image), sets, pods, silence).pods.map((each) => each.isCurrent);
    assert.deepEqual(current('a:2'), [false, true]);
    assert.deepEqual(current('a:1'), [true, false]);
    assert.equal(observedGateways(deployment('a:3'), sets, pods, silence).isSettled, false);
    assert.equal(observedGateways(undefined, sets, pods, silence).replicas, undefined);
  });

  it('are those that a ReplicaSet counts, with what they are about', () => {
    const running = { containerStatuses: [{ state: { running: {} } }] };
    const waiting = { containerStatuses: [{ state: { waiting: { reason: 'CrashLoopBackOff' } } }], conditions: [] };
    const beside = { name: 'proxy', state: { running: {} } };
    const besides = { ...waiting, containerStatuses: [...waiting.containerStatuses, beside] };
    const drain = { annotations: { 'pushcluster.dev/drain': '2026-01-02T03:04:05Z' } };
    const { pods, terminating } = observedGateways(
      deployment('a'),
      [replicaSet('a', 'one')],
      [
        pod('runs', 'one', running),
        pod('stopped', 'one', waiting),
        pod('beside', 'one', besides),
        pod('pending', 'one', { phase: 'Pending', conditions: [] }),
        pod('drains', 'one', {}, drain),
        pod('ends', 'one', {}, { deletionTimestamp: '2026-01-02T03:04:05Z' }),
        pod('failed', 'one', { phase: 'Failed' }),
        pod('confused', 'one', {}, { annotations: { 'pushcluster.dev/drain': 'yes' } }),
      ],
      silence,
    );
    assert.deepEqual(
      pods.map(({ name, state, isReady, drainSince }) => `${name} ${state} ${isReady} ${drainSince}`),
      [
        'runs running true undefined',
        'stopped stopped false undefined',
        'beside stopped false undefined',
        'pending pending false undefined',
        `drains running true ${Date.UTC(2026, 0, 2, 3, 4, 5)}`,
        'confused running true Infinity',
      ],
    );
    assert.equal(terminating, 1);
  });

  it('are seen by their ReplicaSet when that tells of as many, ready and to be chosen by the Service', () => {
    const templated = { ...template('a', 'one'), ...{ metadata: { labels: { 'pushcluster.dev/serving': 'true' } } } };
    const own = { ...deployment('a'), spec: { replicas: 2, template: templated } };
    const seen = (status: object, pods: KubeObject[]) => {
      const set = { ...replicaSet('a', 'one'), spec: { replicas: 2, template: templated }, status };
      return observedGateways(own, [set], pods, silence).isSeen;
    };
    const out = { labels: { 'pod-template-hash': 'one', 'pushcluster.dev/serving': 'false' } };
    const pods = [pod('p', 'one'), pod('q', 'one', {}, out), pod('ends', 'one', {}, { deletionTimestamp: ago(0) })];
    const status = { replicas: 2, readyReplicas: 2, fullyLabeledReplicas: 1 };
    assert.equal(seen(status, pods), true);
    for (const late of [{ replicas: 3 }, { readyReplicas: 1 }, { fullyLabeledReplicas: 2 }, { replicas: undefined }])
      assert.equal(seen({ ...status, ...late }, pods), false, JSON.stringify(late));
    assert.equal(observedGateways(own, [], pods, silence).isSeen, false);
  });

  it('are unknown since they were made, became ready or last said how many they hold', () => {
    const reading = (uid: string) => {
      if (uid !== 'fresh' && uid !== 'stale') return undefined;
      return { status: STATUS, at: Date.parse(uid === 'fresh' ? ago(0) : '2026-01-02T03:04:05Z') };
    };
    const readings: Readings = {
      ...silence,
      reading,
      freshReading: (uid) => (uid === 'fresh' ? reading(uid) : undefined),
      failure: (uid) => (uid === 'stale' ? 'no answer' : undefined),
    };
    const metadata = { creationTimestamp: '2026-01-02T00:00:00Z' };
    const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-02T00:00:09Z' }];
    const pods = [
      ...['fresh', 'stale', 'dumb'].map((name) => pod(name, 'one', { conditions }, metadata)),
      pod('starts', 'one', { conditions: [] }, metadata),
    ];
    const gateways = observedGateways(deployment('a'), [replicaSet('a', 'one')], pods, readings);
    const second = (at: number | undefined) => at && new Date(at).toISOString().slice(11, 19);
    assert.deepEqual(
      gateways.pods.map(({ name, unknownSince, isSilent }) => `${name} ${second(unknownSince)} ${isSilent}`),
      ['fresh undefined false', 'stale 03:04:05 true', 'dumb 00:00:09 false', 'starts 00:00:00 false'],
    );
  });

  it('are changed in what is to be other, and in nothing else', () => {
    const serves = { isServing: true, drainSince: undefined, deletionCost: undefined };
    const drains = { isServing: false, drainSince: Date.UTC(2026, 0, 2), deletionCost: -1_000 };
    const [drain, left] = ['pushcluster.dev/drain', 'pushcluster.dev/left'];
    const cost = 'controller.kubernetes.io/pod-deletion-cost';
    const now = Date.UTC(2026, 0, 3);
    assert.deepEqual(podPatch(serves, drains, now), {
      labels: { 'pushcluster.dev/serving': 'false' },
      annotations: { [left]: '2026-01-03T00:00:00.000Z', [drain]: '2026-01-02T00:00:00.000Z', [cost]: '-1000' },
    });
    assert.deepEqual(podPatch(drains, serves, now), {
      labels: { 'pushcluster.dev/serving': 'true' },
      annotations: { [left]: null, [drain]: null, [cost]: null },
    });
    assert.deepEqual(podPatch(drains, { ...drains, deletionCost: -2_000 }, now), {
      labels: { 'pushcluster.dev/serving': 'false' },
      annotations: { [cost]: '-2000' },
    });
  });

  it('look the same where nothing that matters has changed', () => {
    const before = pod('p', 'one');
    assert.equal(looksOf(pod('p', 'one', { hostIP: '10.0.0.1' }, { resourceVersion: '9' })), looksOf(before));
    assert.notEqual(looksOf(pod('p', 'one', { conditions: [] })), looksOf(before));
  });
});
