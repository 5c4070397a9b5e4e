import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from './fixture.ts';
import { staticSettingsHash } from './staticSettingsHash.ts';
import { InvalidSettings } from './validSettings.ts';

describe('the hash of static settings', () => {
  const gateway = (spec: Parameters<typeof clusterOf>[0], metadata = {}) =>
    staticSettingsHash(clusterOf(spec, metadata), 'gateway');

  it('stays where only live settings change, or the generation', () => {
    const before = gateway({});
    assert.equal(gateway({}, { generation: 8 }), before);
    assert.equal(gateway({ gateway: { batching: { maxDelay: '5s' }, connections: { max: 5 } } }), before);
    assert.equal(gateway({ rooms: [{ match: '*' }], auth: { allowedOrigins: ['https://x'] } }), before);
  });

  it('is that of the first release: an upgrade of the operator, with new settings at their defaults, rolls out no pods', () => {
    // The API server stored this default of that release.
    const stored = { gateway: { drain: { settle: '5s' } } };
    const hashes = [gateway(stored), staticSettingsHash(clusterOf(stored), 'logic')];
    assert.deepEqual(hashes, ['fa172ad3d745b437', 'ad37ec518c6233b4']);
  });

  it('stays where the same is said in other words', () => {
    const gatewayOf = (maxBuffer: string) => gateway({ gateway: { slowConsumer: { maxBuffer } } });
    assert.equal(gatewayOf('2MiB'), gatewayOf('2048Ki'));
  });

  it('changes with settings that a gateway reads only at its start', () => {
    const before = gateway({});
    assert.notEqual(gateway({ gateway: { shards: 3 } }), before);
    assert.notEqual(gateway({ gateway: { batching: { compression: false } } }), before);
    assert.notEqual(gateway({ nats: { prefix: 'other' } }), before);
  });

  it('is another role’s own: keys of the push API move no connection', () => {
    const apiKeys = [{ name: 'k', secretRef: { name: 's' } }];
    assert.equal(gateway({ logic: { apiKeys } }), gateway({}));
  });

  it('refuses settings that can not work together, with a sentence that names the key', () => {
    const spec = { gateway: { batching: { maxBytes: '1MiB' }, slowConsumer: { maxBuffer: '1MiB' } } };
    assert.throws(
      () => gateway(spec),
      (error) =>
        error instanceof InvalidSettings && /gateway\.slowConsumer\.maxBuffer: must hold two/.test(error.message),
    );
  });
});
