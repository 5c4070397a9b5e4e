import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digest, withDigest } from './digest.ts';

const metadata = { name: 'a', namespace: 'shop', labels: { a: 'b' } };
const configMap = (data: Record<string, string>) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data });

describe('what is kept of an object that is only compared', () => {
  it('is its metadata and a digest, however long it is', () => {
    const kept = withDigest(configMap({ 'a.json': 'x'.repeat(500_000) }));
    assert.equal(kept.metadata, metadata);
    assert.ok(JSON.stringify(kept).length < 300);
  });

  it('differs where the content does, and only there', () => {
    const [one, same, other] = [configMap({ a: '1', b: '2' }), configMap({ b: '2', a: '1' }), configMap({ a: '1' })];
    assert.deepEqual(withDigest(one), withDigest(same));
    assert.notDeepEqual(withDigest(one), withDigest(other));
  });

  it('is itself when it is asked for again', () => {
    const kept = withDigest(configMap({ a: '1' }));
    assert.equal(withDigest(kept), kept);
  });

  it('is all of it for kinds whose content is read', () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata, data: { a: 'MQ==' } };
    assert.equal(withDigest(secret), secret);
  });
});

describe('a digest', () => {
  it('does not go by the order of keys, and does by that of lists', () => {
    assert.equal(digest({ a: 1, b: { c: 2, d: undefined } }), digest({ b: { c: 2 }, a: 1 }));
    assert.notEqual(digest([1, 2]), digest([2, 1]));
  });
});
