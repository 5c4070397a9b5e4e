import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { clusterOf } from './fixture.ts';
import { gatewayMounts, logicMounts, type Mounts } from './mounts.ts';
import { validSettings } from './validSettings.ts';

/** The files of a pod's projected volumes, and the Secret or ConfigMap that each is from. */
function files({ volumes, volumeMounts }: Mounts): Record<string, string> {
  const found = volumes.flatMap(({ name, projected }) =>
    (projected?.sources ?? []).flatMap(({ secret, configMap }) =>
      (secret ?? configMap)?.items?.map(({ key, path }) => {
        const folder = volumeMounts.find((mount) => mount.name === name)?.mountPath;
        return [
          `${folder}/${path}`,
          `${secret ? 'Secret' : 'ConfigMap'} ${(secret ?? configMap)?.name} ${key}`,
        ] as const;
      }),
    ),
  );
  return Object.fromEntries(found.filter((each) => each !== undefined));
}

/** Every file that a settings file names. */
function named(settings: Settings): string[] {
  return JSON.stringify(settings).match(/\/etc\/pushcluster\/(nats|jwt)\/[^"]+/g) ?? [];
}

const external = { url: 'tls://n:4222', prefix: 'live' };

describe('the files of pods', () => {
  it('are a JWKS from a Secret or from a ConfigMap', () => {
    const of = (jwksFrom: object) => files(gatewayMounts(clusterOf({ auth: { jwt: { jwksFrom } } })));
    const place = '/etc/pushcluster/jwt/jwks.json';
    assert.equal(of({ secretRef: { name: 'keys' } })[place], 'Secret keys jwks.json');
    assert.equal(of({ configMapRef: { name: 'keys', key: 'public' } })[place], 'ConfigMap keys public');
  });

  it('are the client certificate of each role for NATS', () => {
    const certificates = { gateway: { secretName: 'of-gateways' }, logic: { secretName: 'of-logic' } };
    const cluster = clusterOf({ nats: { ...external, certificates } });
    for (const [role, mounts] of [
      ['gateway', gatewayMounts(cluster)],
      ['logic', logicMounts(cluster)],
    ] as const) {
      const name = role === 'gateway' ? 'of-gateways' : 'of-logic';
      assert.equal(files(mounts)['/etc/pushcluster/nats/tls.crt'], `Secret ${name} tls.crt`);
      assert.equal(files(mounts)['/etc/pushcluster/nats/tls.key'], `Secret ${name} tls.key`);
    }
    const one = clusterOf({ nats: { ...external, certificates: { logic: { secretName: 'of-logic' } } } });
    assert.equal(files(gatewayMounts(one))['/etc/pushcluster/nats/tls.crt'], undefined);
  });

  it('are the CA of managed NATS with TLS, of the operator or of somebody else', () => {
    const of = (tls: object) => {
      const cluster = clusterOf({ nats: { managed: { tls } } });
      for (const [role, mounts] of [
        ['gateway', gatewayMounts(cluster)],
        ['logic', logicMounts(cluster)],
      ] as const)
        for (const file of named(validSettings(cluster, role))) assert.ok(file in files(mounts), file);
      const [server] = validSettings(cluster, 'gateway').bus.nats!.servers;
      return [files(gatewayMounts(cluster))['/etc/pushcluster/nats/ca.crt'], server];
    };
    const host = 'live-nats.shop.svc:4222';
    assert.deepEqual(of({}), [undefined, `nats://${host}`]);
    assert.deepEqual(of({ enabled: true }), ['Secret live-nats-tls ca.crt', `tls://${host}`]);
    assert.deepEqual(of({ enabled: true, secretName: 'issued' }), ['Secret issued ca.crt', `tls://${host}`]);
  });

  it('are all that the settings name', () => {
    const cluster = clusterOf({
      auth: { jwt: { jwksFrom: { secretRef: { name: 'keys' } } } },
      nats: {
        ...external,
        certificates: { gateway: { secretName: 'g' }, logic: { secretName: 'l' } },
        credentials: { gateway: { secretRef: { name: 'g' } }, logic: { secretRef: { name: 'l' } } },
        caSecretRef: { name: 'ca' },
      },
    });
    const gateway = named(validSettings(cluster, 'gateway'));
    const logic = named(validSettings(cluster, 'logic'));
    assert.deepEqual([gateway.length, logic.length], [5, 4]);
    for (const file of gateway) assert.ok(file in files(gatewayMounts(cluster)), file);
    for (const file of logic) assert.ok(file in files(logicMounts(cluster)), file);
  });
});
