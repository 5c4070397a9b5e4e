import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Status } from '../api/pushCluster.ts';
import { KubeError } from '../kube/errors.ts';
import type { Condition } from './status.ts';
import { FORGET_MS, StatusFields } from './statusFields.ts';

const HEAD = 'failed to create typed patch object (shop/live; pushcluster.dev/v1alpha1, Kind=PushCluster): ';
const undeclared = (...paths: string[]) => {
  const each = paths.map((path) => `${path}: field not declared in schema`);
  return new KubeError('invalid', HEAD + (each.length === 1 ? each[0] : `errors:\n  ${each.join('\n  ')}`), {
    code: 500,
  });
};
const condition: Condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Ready',
  message: 'ready',
  observedGeneration: 3,
  lastTransitionTime: '2026-01-01T00:00:00Z',
};
const status: Status = {
  observedGeneration: 3,
  conditions: [condition, { ...condition, type: 'Available' }],
  gateway: { replicas: 2, draining: 1 },
  nats: { url: 'nats://n' },
};

function fields() {
  let now = 0;
  return { of: new StatusFields({ now: () => now }), pass: (ms: number) => (now += ms) };
}

describe('fields of a status that the installed CRD does not have', () => {
  it('are none at first', () => {
    assert.equal(fields().of.known(status), status);
  });

  it('are left out once the API server has named them, also in lists', () => {
    const { of } = fields();
    assert.deepEqual(of.learn(undeclared('.status.gateway.draining')), ['gateway.draining']);
    assert.deepEqual(of.known(status), { ...status, gateway: { replicas: 2 } });
    assert.deepEqual(of.learn(undeclared('.status.nats', '.status.conditions[type="Ready"].observedGeneration')), [
      'nats',
      'conditions[].observedGeneration',
    ]);
    const { observedGeneration: _, ...older } = condition;
    assert.deepEqual(of.known(status), {
      observedGeneration: 3,
      conditions: [older, { ...older, type: 'Available' }],
      gateway: { replicas: 2 },
    });
    assert.equal(status.gateway?.draining, 1, 'the given one stays as it is');
  });

  it('are learnt from no other error, and each once', () => {
    const { of } = fields();
    assert.deepEqual(of.learn(new Error('field not declared in schema')), []);
    assert.deepEqual(of.learn(new KubeError('unavailable', 'etcd', { code: 500 })), []);
    assert.deepEqual(of.learn(undeclared('.spec.gateway')), []);
    of.learn(undeclared('.status.nats'));
    assert.deepEqual(of.learn(undeclared('.status.nats')), []);
  });

  it('are tried again after a while: the CRD may have been upgraded', () => {
    const { of, pass } = fields();
    of.learn(undeclared('.status.nats'));
    pass(FORGET_MS - 1);
    assert.equal(of.known(status).nats, undefined);
    pass(1);
    assert.equal(of.known(status), status);
    assert.deepEqual(of.learn(undeclared('.status.nats')), ['nats']);
    assert.equal(of.known(status).nats, undefined);
  });
});
