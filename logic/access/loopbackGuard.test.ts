import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireLoopback, type Sender } from './loopbackGuard.ts';

const sender = (headers: Sender['headers'], peer = '127.0.0.1'): Sender => ({
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
      requireLoopback(sender({ host }, peer));
});

test('without keys other peers are refused', () => {
  for (const peer of ['10.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '0.0.0.0', '127.0.0.6', '::ffff:127.0.0.6', undefined])
    assert.throws(() => requireLoopback({ ...sender({ host: 'localhost' }), peer }), { code: 'loopback_only' });
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
    assert.throws(() => requireLoopback(sender({ host })), { code: 'loopback_only' }, String(host));
});

test('without keys what a proxy passed on is refused, whichever header shows it', () => {
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
    assert.throws(() => requireLoopback(sender({ host: '127.0.0.1:7799', [name]: '1' })), {
      code: 'loopback_only',
      message: new RegExp(`has the header ${name}`),
    });
  for (const name of ['x-request-id', 'traceparent', 'x-b3-traceid', 'user-agent', 'x-api-version', 'referer'])
    requireLoopback(sender({ host: '127.0.0.1:7799', [name]: '1' }));
});

test('without keys HTTP/1.0 is refused: a plain proxy_pass leaves no other trace', () => {
  const plain = sender({ host: '127.0.0.1:7799', connection: 'close' });
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
    requireLoopback({ ...sender({ host: 'localhost' }), target });
  for (const target of [
    'http://evil.example/v1/push',
    'HTTPS://evil.example',
    'http://localhost@evil.example/',
    'http:///',
  ])
    assert.throws(
      () => requireLoopback({ ...sender({ host: 'localhost' }), target }),
      { code: 'loopback_only' },
      target,
    );
});
