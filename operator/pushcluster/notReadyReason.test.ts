import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { KubeObject } from '../kube/objects.ts';
import { notReadyReasonOf } from './notReadyReason.ts';

const POD = 'live-gateway-x';

function pod(status: object, metadata: object = {}): KubeObject {
  const more = { metadata: { name: POD, namespace: 'shop', uid: POD, ...metadata }, status };
  return { apiVersion: 'v1', kind: 'Pod', ...more };
}
const container = (change: object) => ({
  containerStatuses: [
    { name: 'gateway', image: 'pushcluster/gateway:9.9.9', ready: false, restartCount: 0, ...change },
  ],
});
const waiting = (reason: string, message = '') => ({ state: { waiting: { reason, message } } });
const ended = (exitCode: number, reason = 'Error') => ({ lastState: { terminated: { exitCode, reason } } });
const why = (status: object, metadata?: object) => notReadyReasonOf(pod(status, metadata))?.why;

describe('what keeps a pod from being ready', () => {
  it('is an image that can not be had, told in the same words while the kubelet tries again', () => {
    const words = 'image pushcluster/gateway:9.9.9 cannot be pulled: see `kubectl describe pod live-gateway-x`';
    assert.equal(why(container(waiting('ErrImagePull', 'not found'))), words);
    assert.equal(why(container(waiting('ImagePullBackOff', 'Back-off pulling'))), words);
    assert.equal(notReadyReasonOf(pod(container(waiting('ErrImagePull'))))?.isStuck, true);
  });

  it('is a Secret that a container wants and that is not there', () => {
    const status = container(waiting('CreateContainerConfigError', 'secret "tls" not found'));
    assert.equal(why(status), 'the container cannot be started: secret "tls" not found');
  });

  it('is that it ends again and again, also while it is up once more', () => {
    const words =
      'the container keeps terminating (out of memory): see `kubectl logs live-gateway-x -c gateway --previous`';
    const killed = { restartCount: 2, ...ended(137, 'OOMKilled') };
    assert.equal(why(container({ ...killed, ...waiting('CrashLoopBackOff', 'back-off 10s') })), words);
    assert.equal(why(container({ ...killed, restartCount: 3, state: { running: {} } })), words);
    assert.match(why(container({ restartCount: 2, ...ended(1) })) ?? '', /\(exit code 1\)/);
  });

  it('is a container of a pod template that fails, which is named, also if it runs before the others', () => {
    const crashed = { restartCount: 5, ...ended(1), ...waiting('CrashLoopBackOff') };
    const own = { name: 'gateway', ready: true };
    assert.equal(
      why({ containerStatuses: [own, { name: 'proxy', ...crashed }] }),
      'the container proxy keeps terminating (exit code 1): see `kubectl logs live-gateway-x -c proxy --previous`',
    );
    const initContainerStatuses = [{ name: 'fetch', ...waiting('CreateContainerError', 'no such file') }];
    const status = { initContainerStatuses, ...container(waiting('PodInitializing')) };
    assert.equal(why(status), 'the container fetch cannot be started: no such file');
    assert.equal(notReadyReasonOf(pod(status))?.isStuck, true);
    const done = [{ name: 'fetch', ready: true, state: { terminated: {} } }];
    assert.equal(why({ ...status, initContainerStatuses: done }), undefined);
  });

  it('is that no node has room, which may go away by itself', () => {
    const message = '0/2 nodes are available: 2 Insufficient cpu.';
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }];
    const found = notReadyReasonOf(pod({ phase: 'Pending', conditions }));
    assert.deepEqual(found, { pod: POD, why: `cannot be scheduled: ${message}`, isStuck: false });
  });

  it('is that its volume is not there, and whom to ask about it', () => {
    const message = '0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.';
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }];
    const found = pod({ phase: 'Pending', conditions });
    const volumes = [{ name: 'config' }, { name: 'data', persistentVolumeClaim: { claimName: 'data-live-nats-0' } }];
    const words = `cannot be scheduled: ${message}; see \`kubectl describe pvc data-live-nats-0\` for its volume`;
    assert.equal(notReadyReasonOf({ ...found, ...{ spec: { volumes } } })?.why, words);
    const full = [{ ...conditions[0], message: '0/2 nodes are available: 2 Insufficient cpu.' }];
    const other = pod({ phase: 'Pending', conditions: full });
    assert.doesNotMatch(notReadyReasonOf({ ...other, ...{ spec: { volumes } } })?.why ?? '', /volume/);
  });

  it('is nothing where a pod starts, was started anew once, is ready, or leaves', () => {
    assert.equal(why({}), undefined);
    assert.equal(why(container(waiting('ContainerCreating'))), undefined);
    assert.equal(why(container({ state: { running: {} }, restartCount: 1, ...ended(1) })), undefined);
    const broken = container(waiting('ImagePullBackOff'));
    assert.equal(why({ ...broken, conditions: [{ type: 'Ready', status: 'True' }] }), undefined);
    assert.equal(why(broken, { deletionTimestamp: '2026-01-02T03:04:05Z' }), undefined);
  });
});
