import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { checkSettings } from '@pushcluster/runtime/parseSettings.ts';
import { anySpec } from '@pushcluster/test/harness/pushClusters.ts';
import fc from 'fast-check';
import { clusterOf } from './fixture.ts';
import { settingsOf } from './settingsConfigMap.ts';
import { writtenSettings } from './writtenSettings.ts';

describe('the settings that the operator writes', () => {
  it('leave out a key that came after the first release, at its default, whatever its spelling', () => {
    const gateway = { consoleRoom: '', idleTimeout: '2m', inbound: { maxFrame: '4KiB', frameRate: 50 } };
    assert.deepEqual(writtenSettings({ gateway }), {});
  });

  it('have such a key where it differs from its default', () => {
    const gateway = { idleTimeout: '60s', inbound: { maxFrame: '8KiB', frameRate: 50 } };
    assert.deepEqual(writtenSettings({ gateway }), {
      gateway: { idleTimeout: '60s', inbound: { maxFrame: '8KiB' } },
    });
  });

  it('have what the first release wrote, also at its default, and keep what has no default', () => {
    const settings = {
      gateway: { drain: { rate: 200, file: '/drain' } },
      rooms: [{ match: '*', batching: {}, overload: { maxRate: 9, policy: 'sample' as const } }],
      bus: { prefix: 'pushcluster', nats: { servers: ['nats://n'], user: 'gateway' } },
    };
    assert.deepEqual(writtenSettings(settings), settings);
  });

  it('have a section without a default also if all of its keys are at theirs', () => {
    const history = { messages: 100, maxAge: '1h', replicas: 1 as const };
    const settings = { rooms: [{ match: '*', history }], history: { publishTimeout: '10s' } };
    assert.deepEqual(writtenSettings(settings), { rooms: [{ match: '*', history: {} }] });
  });

  it('mean the same as with every key, for any PushCluster', () => {
    fc.assert(
      fc.property(anySpec(), fc.constantFrom('gateway', 'logic'), (spec, role) => {
        const written = settingsOf(clusterOf(spec), role);
        const all = checkSettings(written);
        assert.deepEqual(checkSettings(writtenSettings(all as typeof written)), all);
        assert.deepEqual(writtenSettings(written), written);
      }),
      { numRuns: 200 },
    );
  });

  it('are empty for all defaults of what came later', () => {
    const { rooms, auth, bus, gateway, ...later } = Settings.parse({});
    assert.deepEqual(writtenSettings(later as Parameters<typeof writtenSettings>[0]), { logic: { apiKeys: [] } });
  });
});
