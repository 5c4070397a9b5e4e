import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Settings } from './settings.ts';
import { settingsWarnings } from './settingsWarnings.ts';

const warnings = (settings: object) => settingsWarnings(Settings.parse(settings));

test('the defaults, and the settings of a cluster, cause no warning', () => {
  for (const settings of [
    {},
    { gateway: { connections: { max: 10_000, perIp: 100, onePerUser: true } }, auth: { jwt: { secretFile: 's' } } },
    { gateway: { forwardedHeaders: 2 } },
    { gateway: { proxyProtocol: true, tls: { certFile: 'a', keyFile: 'b' } } },
    { gateway: { console: true, consolePushUrl: 'http://127.0.0.1:7799', consoleRoom: 'demo' } },
    { rooms: [{ match: 'live-1' }, { match: 'live-*' }, { match: '*' }] },
    { gateway: { batching: { maxItems: 1, maxDelay: 0 } } },
  ])
    assert.deepEqual(warnings(settings), [], JSON.stringify(settings));
});

test('a setting without effect beside another one causes a warning', () => {
  const table: [settings: object, says: RegExp][] = [
    [{ gateway: { connections: { onePerUser: true } } }, /onePerUser does nothing without auth\.jwt/],
    [{ gateway: { connections: { max: 10, perIp: 11 } } }, /perIp does nothing/],
    [{ gateway: { shards: 4, connections: { max: 3 } } }, /max is below gateway\.shards/],
    [{ gateway: { forwardedHeaders: true, proxyProtocol: true } }, /forwardedHeaders counts before/],
    [{ gateway: { consolePushUrl: 'http://a' } }, /consolePushUrl does nothing without/],
    [{ gateway: { consoleRoom: 'demo' } }, /consoleRoom does nothing without/],
    [{ gateway: { rooms: { max: 50 } } }, /maxPerConnection is above gateway\.rooms\.max/],
    [{ gateway: { batching: { maxItems: 1 } } }, /maxDelay does nothing with maxItems 1/],
    [{ gateway: { drain: { timeout: '1s' }, batching: { maxDelay: '2s' } } }, /drain\.timeout is shorter/],
    [
      { gateway: { drain: { timeout: '5s' } }, rooms: [{ match: 'a', batching: { maxDelay: '10s' } }] },
      /longest window \(maxDelay 10000 ms\)/,
    ],
    [{ logic: { limits: { body: '16KiB' } } }, /item does nothing/],
    [{ rooms: [{ match: 'a' }, { match: 'a' }] }, /rooms\.1 \("a"\) has no effect: rooms\.0/],
    [{ rooms: [{ match: 'b' }, { match: 'live-*' }, { match: 'live-*-x' }] }, /rooms\.2 .* rooms\.1 matches/],
  ];
  for (const [settings, says] of table) {
    const found = warnings(settings);
    assert.equal(found.length, 1, JSON.stringify([settings, found]));
    assert.match(found[0]!, says);
  }
});
