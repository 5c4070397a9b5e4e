import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { test } from 'node:test';
import { admitOrigin } from './originPolicy.ts';

const request = (headers: IncomingHttpHeaders, method = 'POST') => ({ method, headers });

test('backends and own pages are admitted, other sites only where listed', () => {
  const host = 'localhost:7799';
  assert.equal(admitOrigin(request({ host }), []), undefined);
  assert.equal(admitOrigin(request({ host, origin: 'http://localhost:7799' }), []), undefined);
  assert.equal(admitOrigin(request({ host: 'push.example', origin: 'https://push.example' }), []), undefined);
  assert.equal(
    admitOrigin(request({ host, origin: 'http://localhost:7777' }), ['http://localhost:7777']),
    'http://localhost:7777',
  );
  assert.equal(admitOrigin(request({ host, origin: 'https://a.example' }), ['https://*.example']), 'https://a.example');
  for (const origin of ['http://localhost:7777', 'null', 'https://evil.example', ''])
    assert.throws(() => admitOrigin(request({ host, origin }), ['https://good.example']), {
      code: 'origin_forbidden',
    });
});

test('a form of another site is refused also where the browser hides its origin', () => {
  const host = 'localhost:7799';
  for (const site of ['cross-site', 'same-site'])
    assert.throws(() => admitOrigin(request({ host, 'sec-fetch-site': site }), []), { code: 'origin_forbidden' });
  // A link to the documentation, or its address typed in.
  admitOrigin(request({ host, 'sec-fetch-site': 'cross-site' }, 'GET'), []);
  admitOrigin(request({ host, 'sec-fetch-site': 'none' }), []);
  admitOrigin(request({ host, 'sec-fetch-site': 'same-origin' }), []);
});
