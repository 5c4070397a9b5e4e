import assert from 'node:assert/strict';
import { it } from 'node:test';
import { errorOfAnswer, errorOfSilence, errorOfStatus } from './errors.ts';

it('an answer that is no success becomes a kind of refusal that says what to do', () => {
  const reasons = [400, 401, 403, 404, 409, 410, 415, 422, 429, 500, 503].map((code) => errorOfAnswer(code, '').reason);
  assert.deepEqual(reasons, [
    'invalid',
    'forbidden',
    'forbidden',
    'notFound',
    'conflict',
    'expired',
    'invalid',
    'invalid',
    'unavailable',
    'unavailable',
    'unavailable',
  ]);
});

it('a field that a kind does not have is no fault of the API server, though it answers so', () => {
  const message =
    'failed to create typed patch object (shop/live; apps/v1, Kind=Deployment): .spec.a: field not declared';
  assert.equal(errorOfAnswer(500, JSON.stringify({ kind: 'Status', message, code: 500 })).reason, 'invalid');
});

it('the API server is quoted, also where it says something else than a Status', () => {
  const status = JSON.stringify({ kind: 'Status', message: 'exceeded quota: small', code: 403 });
  assert.equal(errorOfAnswer(403, status).message, 'exceeded quota: small');
  assert.equal(errorOfAnswer(502, '<html>bad gateway</html>').message, '<html>bad gateway</html>');
  assert.equal(errorOfAnswer(500, ' ').message, 'the API server returned status 500');
  assert.equal(errorOfAnswer(500, 'x'.repeat(5_000)).message.length, 300);
});

it('the server may say when it wants to be asked again', () => {
  assert.equal(errorOfAnswer(429, '', { 'retry-after': '3' }).retryAfter, 3_000);
  assert.equal(errorOfAnswer(429, '', { 'retry-after': 'soon' }).retryAfter, undefined);
});

it('where nobody answered, it says why, from as far down as it is known', () => {
  const error = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 127.0.0.1:6443') });
  assert.equal(
    errorOfSilence(error, 'no response from the API server to GET /api/v1/pods').message,
    'no response from the API server to GET /api/v1/pods: connect ECONNREFUSED 127.0.0.1:6443',
  );
});

it("a watch's error event counts as the answer that it stands for", () => {
  assert.equal(errorOfStatus({ code: 410, message: 'too old resource version: 1 (5)' }).reason, 'expired');
  assert.equal(errorOfStatus('nonsense').reason, 'unavailable');
});
