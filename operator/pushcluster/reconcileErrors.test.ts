import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KubeError } from '../kube/errors.ts';
import { ReconcileErrors } from './reconcileErrors.ts';

const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'live' } };
const failing = (error: Error) => () => Promise.reject(error);

describe('the errors of a reconcile', () => {
  it('keep no other object from being written', async () => {
    const errors = new ReconcileErrors();
    assert.equal(await errors.collect(service, failing(new KubeError('forbidden', 'quota', { code: 403 }))), undefined);
    assert.equal(await errors.collect(service, async () => 'written'), 'written');
    assert.deepEqual(errors.problems, [{ object: 'Service live', reason: 'forbidden', message: 'quota' }]);
  });

  it('tell why an object could not be written', async () => {
    const errors = new ReconcileErrors();
    await errors.collect(service, failing(new KubeError('invalid', 'no', { code: 422 })));
    assert.equal(errors.reasonOf(service), 'invalid');
    assert.equal(errors.reasonOf({ ...service, kind: 'ConfigMap' }), undefined);
  });

  it('are transient only if a retry may resolve each of them', async () => {
    const errors = new ReconcileErrors();
    assert.equal(errors.areTransient, false);
    await errors.collect(service, failing(new KubeError('conflict', 'changed', { code: 409 })));
    assert.equal(errors.areTransient, true);
    errors.add('Service live', 'invalid', 'no');
    assert.equal(errors.areTransient, false);
  });

  it('stop further requests after two without a response in a row', async () => {
    const errors = new ReconcileErrors();
    const silence = failing(new KubeError('unavailable', 'timeout'));
    await errors.collect(service, silence);
    await errors.collect(service, async () => {});
    await errors.collect(service, silence);
    assert.equal(errors.isUnresponsive, false);
    await errors.collect(service, silence);
    assert.equal(errors.isUnresponsive, true);
    await errors.collect(service, () => assert.fail('a request after two without a response'));
  });

  it('are only those of the API server', async () => {
    await assert.rejects(new ReconcileErrors().collect(service, failing(new TypeError('a fault'))), TypeError);
  });
});
