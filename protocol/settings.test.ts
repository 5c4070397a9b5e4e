import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Settings } from './settings.ts';
import { STATIC_KEYS } from './staticSettings.ts';

test('an empty file is a whole one', () => {
  const settings = Settings.parse({});
  assert.equal(settings.gateway.batching.maxDelay, 1_000);
  assert.equal(settings.gateway.batching.maxItems, 1_000);
  assert.equal(settings.gateway.batching.maxBytes, 262_144);
  assert.equal(settings.gateway.port, 7_777);
  assert.equal(settings.logic.port, 7_799);
  assert.equal(settings.admin.port, 9_090);
  assert.deepEqual(settings.rooms, []);
  assert.equal(settings.gateway.connections.perIp, 0);
  assert.equal(settings.gateway.console, false);
  assert.equal(settings.gateway.echo, false);
});

test('settings that were read once read the same again', () => {
  const once = Settings.parse({
    gateway: { batching: { maxDelay: '250ms', maxBytes: '64KiB' }, tls: { certFile: 'c', keyFile: 'k' } },
    rooms: [{ match: 'live-*', batching: { maxDelay: '2s' }, overload: { maxRate: 50 } }],
    auth: { jwt: { secretFile: 's' } },
    bus: { nats: { servers: ['nats://a:4222'], pingInterval: '1s' } },
  });
  assert.deepEqual(Settings.parse(once), once);
});

test('no time is longer than a timer can wait: beyond 2^31 - 1 ms it would fire at once', () => {
  const times: string[] = [];
  const tooLong = '600h';
  const look = (value: unknown, path: readonly string[]) => {
    if (typeof value === 'object' && value !== null)
      for (const [key, part] of Object.entries(value)) look(part, [...path, key]);
    else if (typeof value === 'number') {
      const at = (text: unknown) => path.reduceRight((inner, key) => ({ [key]: inner }), text);
      const complaints = Settings.safeParse(at('1 day')).error?.issues.map(({ message }) => message) ?? [];
      if (!complaints.some((message) => message.startsWith('must be a time'))) return;
      times.push(path.join('.'));
      assert.ok(!Settings.safeParse(at(tooLong)).success, `${path.join('.')} may be ${tooLong}`);
    }
  };
  look(Settings.parse({ bus: { nats: { servers: ['nats://a:4222'] } } }), []);
  assert.ok(times.length > 10 && times.includes('logic.drain.timeout'), times.join(' '));
});

test('unknown keys are refused at every depth', () => {
  for (const wrong of [
    { gatway: {} },
    { gateway: { batchng: {} } },
    { gateway: { batching: { maxdelay: 1 } } },
    { rooms: [{ match: '*', history: { size: 1 } }] },
    { bus: { nats: { servers: ['a'], url: 'b' } } },
  ])
    assert.equal(Settings.safeParse(wrong).error?.issues[0]?.code, 'unrecognized_keys', JSON.stringify(wrong));
});

test('a slow consumer can be owed two full frames, of every room', () => {
  const problems = (input: unknown): string[] =>
    (Settings.safeParse(input).error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  assert.match(
    problems({ gateway: { batching: { maxBytes: '1MiB' } } })[0]!,
    /^gateway\.slowConsumer\.maxBuffer: must hold two full frames: at least 2097152 bytes/,
  );
  assert.match(
    problems({ rooms: [{ match: 'a' }, { match: 'big-*', batching: { maxBytes: '1MiB' } }] })[0]!,
    /^rooms\.1\.batching\.maxBytes: must be at most 524288 bytes for "big-\*"/,
  );
  assert.deepEqual(problems({ rooms: [{ match: '*', batching: { maxBytes: '512KiB' } }] }), []);
});

test('a token needs exactly one source of keys', () => {
  assert.equal(Settings.safeParse({ auth: { jwt: {} } }).success, false);
  assert.equal(Settings.safeParse({ auth: { jwt: { secretFile: 'a', jwksFile: 'b' } } }).success, false);
  assert.equal(Settings.safeParse({ auth: { jwt: { jwksUrl: 'https://id.example.org/keys' } } }).success, true);
  for (const jwksUrl of ['keys', 'file:///etc/keys', 'ftp://id.example.org/keys', 'https://u:p@id.example.org/keys'])
    assert.equal(Settings.safeParse({ auth: { jwt: { jwksUrl } } }).success, false, jwksUrl);
});

test('a bus prefix is made of NATS tokens', () => {
  for (const prefix of ['', '.', 'a.', '.a', 'a..b', 'a.*', 'a.>', 'a b', 'x'.repeat(65)])
    assert.equal(Settings.safeParse({ bus: { prefix } }).success, false, prefix);
  assert.equal(Settings.safeParse({ bus: { prefix: 'tenant-1.live_2' } }).success, true);
});

test('every static key is a key of the settings', () => {
  const tls = { certFile: 'c', keyFile: 'k' };
  const settings = Settings.parse({ gateway: { tls, drain: { file: 'd' } }, logic: { tls } });
  for (const key of STATIC_KEYS) {
    let value: unknown = settings;
    for (const part of key.split('.')) value = (value as Record<string, unknown> | undefined)?.[part];
    assert.notEqual(value, undefined, key);
  }
});

test('forwardedHeaders is how many proxies are trusted; true is one', () => {
  const hops = (forwardedHeaders: unknown) =>
    Settings.safeParse({ gateway: { forwardedHeaders } }).data?.gateway.forwardedHeaders;
  assert.deepEqual([undefined, false, true, 0, 1, 2, 16].map(hops), [0, 0, 1, 0, 1, 2, 16]);
  for (const wrong of [-1, 17, 1.5, '1', 'true', null, []]) assert.equal(hops(wrong), undefined);
});

test('lists of origins are kept as browsers spell origins; what is none is refused at its place', () => {
  const origins = ['https://Example.com/', 'https://*.example.com:443', 'null'];
  const read = Settings.parse({ auth: { allowedOrigins: origins }, logic: { allowedOrigins: origins } });
  const canonical = ['https://example.com', 'https://*.example.com', 'null'];
  assert.deepEqual([read.auth.allowedOrigins, read.logic.allowedOrigins], [canonical, canonical]);
  for (const part of ['auth', 'logic']) {
    const { error } = Settings.safeParse({
      [part]: { allowedOrigins: ['https://a.example', 'https://b.example/app'] },
    });
    assert.deepEqual(error?.issues[0]?.path, [part, 'allowedOrigins', 1]);
    assert.match(error?.issues[0]?.message ?? '', /write https:\/\/b\.example /);
  }
});

test('settings that can not work together are refused at their place', () => {
  const table: [settings: object, place: string, says: RegExp][] = [
    [{ gateway: { port: 9090 } }, 'admin.port', /must differ from gateway\.port, which is 9090 too/],
    [{ logic: { port: 9090 } }, 'admin.port', /must differ from logic\.port/],
    [{ admin: { port: 7777, host: '127.0.0.1' } }, 'admin.port', /must differ from gateway\.port/],
    [{ gateway: { host: '10.0.0.1', port: 80 }, admin: { host: '10.0.0.1', port: 80 } }, 'admin.port', /must differ/],
    [
      {
        gateway: {
          shardWatch: { maxInFlight: '1MiB' },
          slowConsumer: { maxBuffer: '4MiB' },
          batching: { maxBytes: '1MiB' },
        },
      },
      'gateway.shardWatch.maxInFlight',
      /two full frames: at least 2097152 bytes/,
    ],
    [
      {
        gateway: { shardWatch: { maxInFlight: '1MiB' }, slowConsumer: { maxBuffer: '4MiB' } },
        rooms: [{ match: 'a', batching: { maxBytes: '1MiB' } }],
      },
      'gateway.shardWatch.maxInFlight',
      /two full frames/,
    ],
    [{ gateway: { batching: { maxBytes: '1MiB' } } }, 'gateway.slowConsumer.maxBuffer', /two full frames/],
    [{ auth: { anonymous: false } }, 'auth.anonymous', /nobody could connect/],
    [{ auth: { jwt: { secretFile: 'a', jwksFile: 'b' } } }, 'auth.jwt', /exactly one/],
  ];
  for (const [settings, place, says] of table) {
    const issues = Settings.safeParse(settings).error?.issues ?? [];
    const found = issues.find(({ path }) => path.join('.') === place);
    assert.match(found?.message ?? 'accepted', says, JSON.stringify(settings));
  }
  for (const settings of [
    { gateway: { port: 0 }, admin: { port: 0 }, logic: { port: 0 } },
    { gateway: { host: '10.0.0.1', port: 80 }, admin: { host: '127.0.0.1', port: 80 } },
    // Two processes, one file.
    { gateway: { port: 8080 }, logic: { port: 8080 } },
    { gateway: { proxyProtocol: true, tls: { certFile: 'a', keyFile: 'b' } } },
    { gateway: { proxyProtocol: true, forwardedHeaders: 2 } },
  ])
    assert.ok(Settings.safeParse(settings).success, JSON.stringify(settings));
});
