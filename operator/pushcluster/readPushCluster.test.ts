import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failedStatus, isUnread, readPushCluster, unreadStatus } from './readPushCluster.ts';

const NOW = '2026-01-02T03:04:05Z';
const LATER = '2026-01-02T04:00:00Z';
const object = (spec: object, status?: object) => ({
  apiVersion: 'pushcluster.dev/v1alpha1',
  kind: 'PushCluster',
  metadata: { name: 'live', namespace: 'shop', uid: 'uid', generation: 3 },
  spec,
  ...(status ? { status } : {}),
});

function unread(spec: object, status?: object) {
  const found = readPushCluster(object(spec, status));
  assert.ok(isUnread(found));
  return found;
}

describe('a stored PushCluster', () => {
  it('is read with fields that this version does not know, and without a status that it can not read', () => {
    const found = readPushCluster(object({ mirror: { to: 'x' } }, { observedGeneration: 'three' }));
    assert.ok(!isUnread(found));
    assert.equal(found.spec.gateway.drain.rate, 200);
    assert.equal(found.status, undefined);
  });

  it('has a sentence for each value that this version does not know', () => {
    const { problems, metadata } = unread({
      gateway: { service: { type: 'Gateway' }, slowConsumer: { policy: 'spill' } },
    });
    assert.equal(metadata.name, 'live');
    assert.equal(problems.length, 2);
    assert.match(problems.join('\n'), /^spec\.gateway\.slowConsumer\.policy: must be "skip" or "close", is "spill"$/m);
    assert.match(problems.join('\n'), /^spec\.gateway\.service\.type: must be .*, is "Gateway"$/m);
  });

  it('that is not understood keeps its status, but is Degraded and not Ready, and says why', () => {
    const condition = (type: string, status: string) => ({
      ...{ type, status, reason: 'R', message: 'm', observedGeneration: 2, lastTransitionTime: NOW },
    });
    const before = {
      version: '1',
      gateway: { replicas: 3 },
      conditions: [condition('Ready', 'True'), condition('Available', 'True'), condition('Degraded', 'False')],
    };
    const found = unread({ gateway: { service: { type: 'Gateway' } } }, before);
    const status = unreadStatus(found, LATER);
    assert.deepEqual([status.gateway, status.version, status.observedGeneration], [{ replicas: 3 }, '1', 3]);
    const brief = status.conditions?.map(({ type, status, reason }) => `${type} ${status} ${reason}`);
    assert.deepEqual(brief, ['Ready False NotUnderstood', 'Available True R', 'Degraded True NotUnderstood']);
    const degraded = status.conditions?.find(({ type }) => type === 'Degraded');
    assert.match(degraded?.message ?? '', /^spec\.gateway\.service\.type: .* does not know that and changes nothing/);
    assert.equal(degraded?.lastTransitionTime, LATER);
    assert.deepEqual(unreadStatus({ ...found, status }, NOW), status, 'it does not change while nothing does');
  });

  it('that a bug keeps from being reconciled is Degraded, with what was thrown', () => {
    const { metadata } = unread({ gateway: { service: { type: 'Gateway' } } }, {});
    const status = failedStatus({ metadata, status: {} }, new TypeError('keys.map is not a function'), NOW);
    const brief = status.conditions?.map(({ type, status, reason }) => `${type} ${status} ${reason}`);
    assert.deepEqual(brief, ['Ready False InternalError', 'Degraded True InternalError']);
    assert.match(status.conditions?.[1]?.message ?? '', /which is a bug: keys\.map is not a function; its log/);
  });
});
