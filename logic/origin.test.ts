import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Approach, admitOrigin, requireLoopback, requireSingleHeaders } from './origin.ts';

const approach = (headers: Approach['headers'], method = 'POST', peer = '127.0.0.1'): Approach => ({
  method,
  target: '/v1/push',
  version: '1.1',
  peer,
  headers,
});

test('without keys every name of loopback is served', () => {
  for (const peer of ['127.0.0.1', '::1', '::ffff:127.0.0.1', '::FFFF:127.0.0.1'])
    for (const host of [
      'localhost',
      'localhost:7799',
      'LOCALHOST:7799',
      'push.localhost:7799',
      '127.0.0.1:7799',
      '[::1]:7799',
      '[::1]',
    ])
      requireLoopback(approach({ host }, 'POST', peer));
});

test('without keys other peers are refused', () => {
  for (const peer of ['10.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '0.0.0.0', '127.0.0.6', '::ffff:127.0.0.6', undefined])
    assert.throws(() => requireLoopback({ ...approach({ host: 'localhost' }), peer }), { code: 'loopback_only' });
});

test('without keys a name that was made to resolve to loopback is refused', () => {
  for (const host of [
    'evil.example:7799',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    'localhost@evil.example',
    '',
    undefined,
  ])
    assert.throws(() => requireLoopback(approach({ host })), { code: 'loopback_only' }, String(host));
});

test('without keys what smells of a proxy is refused, whichever header tells of it', () => {
  for (const name of [
    ...['forwarded', 'via', 'cdn-loop', 'true-client-ip', 'cf-connecting-ip', 'cf-ray', 'fastly-client-ip'],
    ...['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-client-cert', 'x-real-ip'],
    ...['x-client-ip', 'x-cluster-client-ip', 'x-remote-addr', 'x-original-forwarded-for', 'x-envoy-external-address'],
    ...['x-envoy-expected-rq-timeout-ms', 'x-amzn-trace-id', 'x-azure-clientip'],
    ...['proxy-connection', 'proxy-authorization', 'x-proxy-id', 'x-proxyuser-ip', 'wl-proxy-client-ip', 'client-ip'],
    ...[
      'fly-client-ip',
      'incap-client-ip',
      'x-sucuri-clientip',
      'x-http-forwarded-for',
      'x-nginx-proxy',
      'max-forwards',
    ],
    ...['surrogate-capability', 'front-end-https', 'akamai-origin-hop', 'x-akamai-edgescape', 'x-arr-log-id', 'x-host'],
    ...['x-scheme', 'x-url-scheme', 'x-varnish', 'x-vercel-id', 'x-nf-request-id', 'x-traefik-router'],
    ...['x-cloud-trace-context', 'x-appengine-country', 'x-istio-attributes'],
  ])
    assert.throws(() => requireLoopback(approach({ host: '127.0.0.1:7799', [name]: '1' })), {
      code: 'loopback_only',
      message: new RegExp(`has the header ${name}`),
    });
  for (const name of ['x-request-id', 'traceparent', 'x-b3-traceid', 'user-agent', 'x-api-version', 'referer'])
    requireLoopback(approach({ host: '127.0.0.1:7799', [name]: '1' }));
});

test('without keys HTTP/1.0 is refused: a plain proxy_pass hands on nothing else to tell it by', () => {
  const plain = approach({ host: '127.0.0.1:7799', connection: 'close' });
  requireLoopback(plain);
  assert.throws(() => requireLoopback({ ...plain, version: '1.0' }), { code: 'loopback_only', message: /HTTP\/1\.0/ });
});

test('without keys the host of a whole URL is one of loopback too', () => {
  for (const target of [
    'http://localhost:7799/v1/push',
    'HTTP://127.0.0.1/v1/push',
    'https://[::1]',
    '*',
    '//evil.example',
  ])
    requireLoopback({ ...approach({ host: 'localhost' }), target });
  for (const target of [
    'http://evil.example/v1/push',
    'HTTPS://evil.example',
    'http://localhost@evil.example/',
    'http:///',
  ])
    assert.throws(
      () => requireLoopback({ ...approach({ host: 'localhost' }), target }),
      { code: 'loopback_only' },
      target,
    );
});

test('a header of which there may be one stands in one line, whatever its capitals', () => {
  const look = (...raw: string[]) => {
    const headers = Object.fromEntries(
      raw.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1]]] : [])),
    );
    requireSingleHeaders(raw, headers);
  };
  look('Host', 'a', 'Origin', 'b');
  look('Host', 'a', 'Cookie', 'a=1', 'cookie', 'b=2', 'X-Own', '1', 'x-own', '2');
  for (const name of ['Host', 'Origin', 'Authorization', 'Content-Type', 'Content-Length', 'Content-Encoding'])
    for (const other of [name, name.toLowerCase(), name.toUpperCase()])
      assert.throws(() => look('Accept', '*/*', name, 'a', 'X-Own', '1', other, 'a'), {
        code: 'bad_request',
        message: `The request has more than one ${name.toLowerCase()} header.`,
      });
});

test('backends and own pages are admitted, other sites only where listed', () => {
  const host = 'localhost:7799';
  assert.equal(admitOrigin(approach({ host }), []), undefined);
  assert.equal(admitOrigin(approach({ host, origin: 'http://localhost:7799' }), []), undefined);
  assert.equal(admitOrigin(approach({ host: 'push.example', origin: 'https://push.example' }), []), undefined);
  assert.equal(
    admitOrigin(approach({ host, origin: 'http://localhost:7777' }), ['http://localhost:7777']),
    'http://localhost:7777',
  );
  assert.equal(
    admitOrigin(approach({ host, origin: 'https://a.example' }), ['https://*.example']),
    'https://a.example',
  );
  for (const origin of ['http://localhost:7777', 'null', 'https://evil.example', ''])
    assert.throws(() => admitOrigin(approach({ host, origin }), ['https://good.example']), {
      code: 'origin_forbidden',
    });
});

test('a form of another site is refused also where the browser hides its origin', () => {
  const host = 'localhost:7799';
  for (const site of ['cross-site', 'same-site'])
    assert.throws(() => admitOrigin(approach({ host, 'sec-fetch-site': site }), []), { code: 'origin_forbidden' });
  // A link to the documentation, or its address typed in.
  admitOrigin(approach({ host, 'sec-fetch-site': 'cross-site' }, 'GET'), []);
  admitOrigin(approach({ host, 'sec-fetch-site': 'none' }), []);
  admitOrigin(approach({ host, 'sec-fetch-site': 'same-origin' }), []);
});
