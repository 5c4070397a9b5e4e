import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { parseSettings } from '@pushcluster/runtime/parseSettings.ts';
import { clusterOf } from './fixture.ts';
import { DRAIN_FILE } from './names.ts';
import { settingsConfigMap, settingsOf } from './settingsConfigMap.ts';

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
    assert.deepEqual(gateway.protection, { memory: 0.8, fds: 0.98, loopLag: 1_000, handshakes: 10_000 });
    assert.deepEqual(rooms, [{ match: 'live-*', overload: { maxRate: 100, policy: 'sample' } }]);
    assert.deepEqual(auth, {
      jwt: { secretFile: '/etc/pushcluster/jwt/secret', audience: 'a' },
      anonymous: true,
      allowedOrigins: ['https://a'],
    });
  });

  it('tell gateways and logic the same histories, and logic where they are stored', () => {
    const rooms = [{ match: 'a' }, { match: 'chat-*', history: { replicas: 3 as const } }];
    const stored = { messages: 100, maxAge: 3_600_000, replicas: 3 };
    const of = (nats: object, history: object = {}) => files(clusterOf({ rooms, nats, history }));
    const managed = of({ managed: { replicas: 3, jetstream: { storage: 'memory' } } }, { publishTimeout: '20s' });
    for (const { rooms } of [managed.gateway, managed.logic]) assert.deepEqual(rooms[1]?.history, stored);
    assert.equal(managed.logic.rooms[0]?.match, 'a');
    assert.deepEqual(managed.logic.history, { storage: 'memory', publishTimeout: 20_000 });
    const url = { url: 'nats://n', prefix: 'p' };
    assert.equal(of(url).logic.history.storage, 'file');
    assert.equal(of(url, { storage: 'memory' }).logic.history.storage, 'memory');
  });

  it('tell logic no policies without a history, which older pods do not need either', () => {
    const text = settingsConfigMap(clusterOf({ rooms: [{ match: 'a' }] })).data?.['logic.yaml'];
    assert.ok(text?.includes('apiKeys') && !text.includes('rooms:') && !text.includes('history'));
  });

  it('say how many proxies are trusted, in a way that an older gateway knows where it is one', () => {
    const hops = (service: object) =>
      settingsOf(clusterOf({ gateway: { service } }), 'gateway').gateway?.forwardedHeaders;
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

  it('have as many shards as the pod template has CPUs for', () => {
    const spec = { containers: [{ name: 'gateway', resources: { limits: { cpu: 5 } } }] };
    assert.equal(files(clusterOf({ gateway: { podTemplate: { spec } } })).gateway.gateway.shards, 4);
  });
});
