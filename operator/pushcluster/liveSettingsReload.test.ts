import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from './desired/fixture.ts';
import { liveSettingsHash } from './liveSettingsReload.ts';

describe('the hash that brings live settings to pods', () => {
  it('changes with them, and not with the generation alone: scaling wakes nobody', () => {
    const before = liveSettingsHash(clusterOf(), 'gateway');
    assert.equal(liveSettingsHash(clusterOf({ gateway: { replicas: 9 } }, { generation: 8 }), 'gateway'), before);
    assert.notEqual(liveSettingsHash(clusterOf({ rooms: [{ match: 'a' }] }), 'gateway'), before);
    assert.equal(
      liveSettingsHash(clusterOf({ rooms: [{ match: 'a' }] }), 'logic'),
      liveSettingsHash(clusterOf(), 'logic'),
    );
  });
});
