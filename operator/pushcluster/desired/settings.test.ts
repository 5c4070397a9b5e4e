import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { parseSettings } from '@pushcluster/runtime/settings.ts';
import { clusterOf } from './fixture.ts';
import { DRAIN_FILE } from './names.ts';
import {
  gatewaySettings,
  leavesWithin,
  settingsConfigMap,
  settingsHash,
  staticHash,
  UnusableSettings,
} from './settings.ts';

const files = (cluster = clusterOf()) => {
  const data = settingsConfigMap(cluster).data ?? {};
  return {
    gateway: parseSettings(data['gateway.yaml'] ?? '', 'gateway.yaml'),
    logic: parseSettings(data['logic.yaml'] ?? '', 'logic.yaml'),
  };
};

describe('the settings files', () => {
  it('are read by gateways and logic, and carry the generation', () => {
    assert.equal(files().gateway.generation, 7);
    assert.equal(files().logic.generation, 7);
  });

  it('have the defaults of the settings, where the cluster says nothing', () => {
    const { gateway, rooms, auth } = files(clusterOf({ gateway: { resources: {} } })).gateway;
    const fallback = Settings.parse({ gateway: { drain: { file: DRAIN_FILE } } });
    assert.deepEqual(
      { gateway, rooms, auth },
      { gateway: fallback.gateway, rooms: fallback.rooms, auth: fallback.auth },
    );
  });

  it('leave the console and the echo off', () => {
    const { console, echo } = files().gateway.gateway;
    assert.deepEqual({ console, echo }, { console: false, echo: false });
  });

  it('say only what the cluster says, so that an older gateway knows every key', () => {
    assert.deepEqual(Object.keys(gatewaySettings(clusterOf()).gateway ?? {}).sort(), [
      'batching',
      'connections',
      'drain',
      'forwardedHeaders',
      'protection',
      'proxyProtocol',
      'rebalance',
      'rooms',
      'shards',
      'slowConsumer',
    ]);
  });

  it('take over windows, limits, policies of rooms and who may connect', () => {
    const { gateway, rooms, auth } = files(
      clusterOf({
        gateway: {
          batching: { maxDelay: '250ms' },
          connections: { perIp: 9 },
          protection: { memory: 0.8, loopLag: '1s' },
        },
        rooms: [{ match: 'live-*', overload: { maxRate: 100 } }],
        auth: { jwt: { secretRef: { name: 'jwt' }, audience: 'a' }, anonymous: true, allowedOrigins: ['https://a'] },
      }),
    ).gateway;
    assert.equal(gateway.batching.maxDelay, 250);
    assert.equal(gateway.connections.perIp, 9);
    assert.deepEqual(gateway.protection, { memory: 0.8, fds: 0.98, loopLag: 1_000, handshakes: 3_000 });
    assert.deepEqual(rooms, [{ match: 'live-*', overload: { maxRate: 100, policy: 'sample' } }]);
    assert.deepEqual(auth, {
      jwt: { secretFile: '/etc/pushcluster/jwt/secret', audience: 'a' },
      anonymous: true,
      allowedOrigins: ['https://a'],
    });
  });

  it('say how many proxies are trusted, in a way that an older gateway knows where it is one', () => {
    const hops = (service: object) => gatewaySettings(clusterOf({ gateway: { service } })).gateway?.forwardedHeaders;
    assert.equal(hops({}), false);
    assert.equal(hops({ forwardedHeaders: true }), true);
    assert.equal(hops({ forwardedHeaders: true, forwardedHops: 3 }), 3);
  });

  it('give logic the generated key, or else only those that are given, with their scopes', () => {
    assert.deepEqual(files().logic.logic.apiKeys, [{ name: 'generated', file: '/etc/pushcluster/keys/generated' }]);
    const apiKeys = [{ name: 'sports', secretRef: { name: 's' }, scope: { rooms: ['sport-*'] } }];
    assert.deepEqual(
      files(clusterOf({ logic: { apiKeys } })).logic.logic.apiKeys.map(({ name, scope }) => [name, scope?.rooms]),
      [['sports', ['sport-*']]],
    );
  });

  it('name the managed servers by an address that outlives each of them', () => {
    const { bus } = files().gateway;
    assert.deepEqual(bus.nats?.servers, ['nats://live-nats.shop.svc:4222']);
    assert.equal(bus.nats?.user, 'gateway');
    assert.equal(files().logic.bus.nats?.user, 'logic');
  });

  it('name the servers that are given, each role with its own credentials', () => {
    const { gateway, logic } = files(
      clusterOf({
        nats: {
          url: 'tls://a:4222,tls://b:4222',
          prefix: 'shop',
          credentials: {
            gateway: { secretRef: { name: 'g' } },
            logic: { type: 'password', user: 'l', secretRef: { name: 'l', key: 'password' } },
          },
          caSecretRef: { name: 'ca' },
        },
      }),
    );
    assert.equal(gateway.bus.prefix, 'shop');
    assert.deepEqual(gateway.bus.nats?.servers, ['tls://a:4222', 'tls://b:4222']);
    assert.equal(gateway.bus.nats?.credsFile, '/etc/pushcluster/nats/credential');
    assert.equal(logic.bus.nats?.passwordFile, '/etc/pushcluster/nats/credential');
    assert.equal(logic.bus.nats?.user, 'l');
    assert.deepEqual(logic.bus.nats?.tls, { caFile: '/etc/pushcluster/nats/ca.crt' });
  });

  const shards: [string, object, 'auto' | number][] = [
    ['one less than the CPU limit', { limits: { cpu: 4 }, requests: { cpu: 1 } }, 3],
    ['by the request without a limit', { requests: { cpu: '2500m' } }, 2],
    ['one on a share of a CPU', { requests: { cpu: '100m' } }, 1],
    ["left to the gateway without either: its node's", {}, 'auto'],
  ];
  for (const [what, resources, expected] of shards)
    it(`have as many shards: ${what}`, () => {
      assert.equal(files(clusterOf({ gateway: { resources } })).gateway.gateway.shards, expected);
    });
});

describe('the hash of static settings', () => {
  const gateway = (spec: Parameters<typeof clusterOf>[0], metadata = {}) =>
    staticHash(clusterOf(spec, metadata), 'gateway');

  it('stays where only live settings change, or the generation', () => {
    const before = gateway({});
    assert.equal(gateway({}, { generation: 8 }), before);
    assert.equal(gateway({ gateway: { batching: { maxDelay: '5s' }, connections: { max: 5 } } }), before);
    assert.equal(gateway({ rooms: [{ match: '*' }], auth: { allowedOrigins: ['https://x'] } }), before);
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
        error instanceof UnusableSettings && /gateway\.slowConsumer\.maxBuffer: must hold two/.test(error.message),
    );
  });
});

describe('the hash that brings live settings to pods', () => {
  it('changes with them, and not with the generation alone: scaling wakes nobody', () => {
    const before = settingsHash(clusterOf(), 'gateway');
    assert.equal(settingsHash(clusterOf({ gateway: { replicas: 9 } }, { generation: 8 }), 'gateway'), before);
    assert.notEqual(settingsHash(clusterOf({ rooms: [{ match: 'a' }] }), 'gateway'), before);
    assert.equal(settingsHash(clusterOf({ rooms: [{ match: 'a' }] }), 'logic'), settingsHash(clusterOf(), 'logic'));
  });
});

describe('the time to leave', () => {
  it('is that to settle and that to drain', () => {
    assert.equal(leavesWithin(clusterOf({ gateway: { drain: { settle: '1s', timeout: '1m' } } }), 'gateway'), 61_000);
  });
});
