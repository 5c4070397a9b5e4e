import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KubeObject } from '../kube/objects.ts';
import { leavingGateways, leavingTime } from './leavingGateways.ts';

const NOW = Date.UTC(2026, 0, 1, 12);
const TIME = 40_000;
const ago = (ms: number) => ({ 'pushcluster.dev/left': new Date(NOW - ms).toISOString() });

type Options = {
  isServing?: boolean;
  isReady?: boolean;
  node?: string;
  annotations?: Record<string, string>;
  isEnding?: boolean;
};

function pod(name: string, options: Options = {}): KubeObject {
  const { isServing = true, isReady = true, node = 'node1', annotations = {}, isEnding = false } = options;
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      uid: `uid-of-${name}`,
      labels: { 'pushcluster.dev/serving': String(isServing) },
      annotations,
      ...(isEnding ? { deletionTimestamp: new Date(NOW).toISOString() } : {}),
    },
    spec: { nodeName: node },
    status: {
      podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
      conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    },
  };
  return object;
}

function found(pods: readonly KubeObject[], changes: [name: string, isServing: boolean][] = []) {
  const map = new Map(changes.map(([name, isServing]) => [`uid-of-${name}`, { isServing }]));
  const { gateways, againIn } = leavingGateways(pods, map, TIME, NOW);
  return { names: gateways.map(({ name }) => name), againIn };
}

describe('the gateways that leave', () => {
  it('are those that are about to leave the Service, and those that have left it for less than the time', () => {
    const pods = [
      pod('serves'),
      pod('about-to-leave'),
      pod('left', { isServing: false, annotations: ago(15_000) }),
      pod('left-earlier', { isServing: false, annotations: ago(30_000) }),
      pod('left-long-ago', { isServing: false, annotations: ago(40_000) }),
    ];
    assert.deepEqual(found(pods, [['about-to-leave', false]]), {
      names: ['about-to-leave', 'left', 'left-earlier'],
      againIn: 10_000,
    });
  });

  it('include one that is about to return, until the Service selects it again', () => {
    const left = { annotations: ago(1_000) };
    assert.deepEqual(found([pod('returns', { isServing: false, ...left })], [['returns', true]]).names, ['returns']);
    assert.deepEqual(found([pod('returned', left)]), { names: [], againIn: undefined });
  });

  it('include pods that shut down, and none that accepts no connections', () => {
    const left = { isServing: false, annotations: ago(1_000) };
    const pods = [
      pod('shuts-down', { ...left, isEnding: true }),
      pod('has-closed', { ...left, isEnding: true, isReady: false }),
      pod('unready', { isReady: false }),
      pod('nowhere', { ...left, node: '' }),
      pod('unknown', { isServing: false }),
      pod('nonsense', { isServing: false, annotations: { 'pushcluster.dev/left': 'yesterday' } }),
    ];
    assert.deepEqual(found(pods, [['unready', false]]).names, ['shuts-down']);
  });

  it('have their node and their addresses', () => {
    const pods = [pod('left', { isServing: false, annotations: ago(1_000), node: 'node2' })];
    const [gateway] = leavingGateways(pods, new Map(), TIME, NOW).gateways;
    assert.deepEqual(gateway, {
      name: 'left',
      uid: 'uid-of-left',
      node: 'node2',
      addresses: ['10.0.0.1', 'fd00::1'],
    });
  });

  it('are used for somewhat less than they settle', () => {
    assert.equal(leavingTime(45_000), 40_000);
    assert.equal(leavingTime(6_000), 3_000);
    assert.equal(leavingTime(0), 0);
  });
});
