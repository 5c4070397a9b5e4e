import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KubeObject } from '../kube/objects.ts';
import { restoreDecision } from './removal.ts';

const node = (labels: Record<string, string>): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node1', labels },
});

function daemonSet({ deleted = false, nodeSelector = {} }: { deleted?: boolean; nodeSelector?: object } = {}) {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'tuning', ...(deleted ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}) },
    spec: { template: { spec: { nodeSelector } } },
  };
}

describe('a pod that is told to end', () => {
  it('leaves the values to the next one while its DaemonSet means the node', () => {
    assert.equal(restoreDecision(daemonSet(), node({})).restore, false);
    assert.equal(restoreDecision(daemonSet({ nodeSelector: { nic: '10gbe' } }), node({ nic: '10gbe' })).restore, false);
  });

  it('puts them back where its DaemonSet is gone, going, or means other nodes', () => {
    assert.match(restoreDecision(undefined, node({})).why, /was deleted/);
    assert.match(restoreDecision(daemonSet({ deleted: true }), node({})).why, /being deleted/);
    const { restore, why } = restoreDecision(daemonSet({ nodeSelector: { nic: '10gbe' } }), node({ nic: '1gbe' }));
    assert.equal(restore, true);
    assert.match(why, /nic=10gbe/);
  });
});
