import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalOriginPattern, matchesOrigin } from './origins.ts';
import { matches } from './pattern.ts';

test('a pattern of an origin is spelt as browsers spell origins', () => {
  const table: [canonical: string, ...others: string[]][] = [
    [
      'https://example.com',
      'https://example.com/',
      'HTTPS://Example.COM',
      'https://example.com:443',
      'https://example.com:443/',
    ],
    ['https://example.com', 'https://example.com:', 'https://example.com:0443'],
    ['http://example.com', 'http://example.com:80', 'HTTP://EXAMPLE.com:80/'],
    ['http://example.com:443', 'http://Example.com:443/', 'http://example.com:00443'],
    ['https://example.com:80', 'https://example.com:80/'],
    ['https://*.example.com', 'https://*.EXAMPLE.com/', 'https://*.example.com:443'],
    ['https://example.com:*', 'https://EXAMPLE.com:*/'],
    ['https://*', 'HTTPS://*/'],
    ['*', '*/'],
    ['*.example.com', '*.Example.com/'],
    // No browser sends a scheme's own port: whoever wrote it means that scheme.
    [
      'https://*.example.com',
      '*.example.com:443',
      '*.Example.com:0443/',
      '*://*.example.com:443',
      'http*://*.example.com:443',
    ],
    ['http://*.example.com', '*.example.com:80', '*://*.example.com:80', 'htt*://*.example.com:80/'],
    // What ends with a * would also match a port: there the port stays.
    ['https://*:443', '*:443', '*://*:443', 'HTTPS://*:0443/'],
    ['http://*:80', '*:80', 'http*://*:80/', '*://*:80'],
    ['https://example.*:443', '*://Example.*:443'],
    ['http://*:443', 'http://*:0443'],
    ['chrome*://example:443', 'Chrome*://example:443/'],
    ['*://example.com', '*://EXAMPLE.com/'],
    ['http*://example.com:8443', 'HTTP*://example.com:8443/'],
    ['null', 'NULL', 'Null'],
    ['http://[::1]:3000', 'http://[0:0:0:0:0:0:0:1]:3000/', 'HTTP://[::0001]:3000'],
    ['http://[2001:db8::a]', 'http://[2001:DB8::A]:80'],
    ['http://127.0.0.1:7777', 'http://127.0.0.1:7777/', 'http://127.1:7777'],
    ['http://localhost:3000', 'http://LocalHost:3000/'],
    ['https://xn--mnchen-3ya.example', 'https://münchen.example', 'https://MÜNCHEN.example/'],
    ['https://*.xn--mnchen-3ya.example', 'https://*.münchen.example:443'],
    ['chrome-extension://AbCd', 'Chrome-Extension://AbCd/'],
    ['capacitor://localhost', 'capacitor://localhost/'],
    ['https://example.com.', 'https://example.com./'],
  ];
  for (const [canonical, ...others] of table)
    for (const pattern of [canonical, ...others]) assert.equal(canonicalOriginPattern(pattern), canonical, pattern);
});

test('what is no origin is refused, with the right spelling where one can tell', () => {
  const table: [pattern: string, says: RegExp][] = [
    ['https://example.com/app', /without a path: write https:\/\/example\.com$/],
    ['https://example.com/app/', /: write https:\/\/example\.com$/],
    ['https://Example.com:8443/?a=b', /: write https:\/\/example\.com:8443$/],
    ['https://example.com#top', /: write https:\/\/example\.com$/],
    ['https://user@example.com', /: write https:\/\/example\.com$/],
    ['example.com', /: write https:\/\/example\.com$/],
    ['example.com:8443', /: write https:\/\/example\.com:8443$/],
    ['wss://example.com', /never wss: write https:\/\/example\.com$/],
    ['ws://localhost:7777', /never ws: write http:\/\/localhost$/],
    ['https://a.example, https://b.example', /must be an origin/],
    ['https://a.example https://b.example', /must be an origin/],
    ['', /must be an origin/],
    [' ', /must be an origin/],
    [' https://example.com', /must be an origin/],
    ['https://', /must be an origin/],
    ['https://:443', /must be an origin/],
    ['//example.com', /must be an origin/],
    ['https://example.com:port', /must be an origin/],
    ['https://example.com:70000', /at most 65535/],
    ['https://[::1', /must be an origin/],
    ['https://[12345::]', /must have a host/],
    ['https://256.256.256.256', /must have a host/],
    ['https://*mün.example', /in ASCII/],
    ['"https://example.com"', /must be an origin/],
  ];
  for (const [pattern, says] of table)
    assert.throws(() => canonicalOriginPattern(pattern), { name: 'RangeError', message: says }, pattern);
});

test('any port is also the default port, which an origin has no text for', () => {
  for (const [written, origin, expected] of [
    ['https://example.com:*', 'https://example.com', true],
    ['https://example.com:*', 'https://example.com:8443', true],
    ['https://*.example.com:*/', 'https://a.example.com', true],
    ['https://example.com:*', 'https://example.com.evil.org', false],
    ['https://example.com:*', 'http://example.com', false],
    ['https://example.com:8*', 'https://example.com', false],
  ] as const)
    assert.equal(matchesOrigin(canonicalOriginPattern(written), origin), expected, `${written} ${origin}`);
});

test('the port of the scheme is no other port, which a * would match', () => {
  for (const [written, origin, expected] of [
    ['https://*:443', 'https://example.com', true],
    ['https://*:443', 'https://[::1]', true],
    ['https://*:443', 'https://example.com:8443', false],
    ['https://*:443', 'https://[::1]:8443', false],
    ['https://*:443', 'http://example.com', false],
    ['https://example.*:443', 'https://example.org', true],
    ['https://example.*:443', 'https://example.org:444', false],
    ['http://*:80', 'http://example.com', true],
    ['http://*:80', 'http://example.com:8080', false],
    ['*://*:80', 'http://example.com:8080', false],
    ['*:443', 'https://example.com:8443', false],
    ['*:443', 'https://example.com', true],
    ['http://*:443', 'http://example.com:443', true],
    ['http://*:443', 'http://example.com', false],
    ['https://*', 'https://example.com:8443', true],
  ] as const)
    assert.equal(matchesOrigin(canonicalOriginPattern(written), origin), expected, `${written} ${origin}`);
});

test('an origin as a URL has it matches every spelling of itself, and spelling it once is enough', () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  fc.assert(
    fc.property(
      fc.constantFrom('http', 'https'),
      fc.domain(),
      fc.option(port),
      fc.boolean(),
      (scheme, host, port, slash) => {
        const written = `${scheme}://${host}${port === null ? '' : `:${port}`}`;
        const { origin } = new URL(written);
        for (const spelling of [written, written.toUpperCase(), `${written}${slash ? '/' : ''}`]) {
          const pattern = canonicalOriginPattern(spelling);
          assert.ok(matches(pattern, origin), `${pattern} ${origin}`);
          assert.equal(canonicalOriginPattern(pattern), pattern);
        }
      },
    ),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        const pattern = canonicalOriginPattern(text);
        assert.equal(canonicalOriginPattern(pattern), pattern);
      } catch (error) {
        assert.ok(error instanceof RangeError);
      }
    }),
  );
});
