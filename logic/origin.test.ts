import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Approach, admitOrigin, requireLoopback } from './origin.ts';

const approach = (headers: Approach['headers'], method = 'POST', peer = '127.0.0.1'): Approach => ({
  method,
  peer,
  headers,
});

test('without keys every name of loopback is served', () => {
  for (const peer of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'])
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
  for (const peer of ['10.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '0.0.0.0', undefined])
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

test('without keys what a proxy forwards is refused', () => {
  assert.throws(() => requireLoopback(approach({ host: 'localhost', 'x-forwarded-for': '10.0.0.1' })), {
    code: 'loopback_only',
  });
  assert.throws(() => requireLoopback(approach({ host: 'localhost', forwarded: 'for=10.0.0.1' })), {
    code: 'loopback_only',
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
