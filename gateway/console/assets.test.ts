import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { loadConsole } from './assets.ts';

const policyOf = (pushUrl: string) => loadConsole({ pushUrl }).get('/')!.headers['Content-Security-Policy']!;

test('the page, its parts, the SDK and the settings are there, each with its type and the policy', () => {
  const assets = loadConsole({ pushUrl: 'http://127.0.0.1:7799' });
  for (const [path, type] of [
    ['/', 'text/html'],
    ['/index.html', 'text/html'],
    ['/console.css', 'text/css'],
    ['/console.js', 'text/javascript'],
    ['/sdk.js', 'text/javascript'],
    ['/danmaku.js', 'text/javascript'],
    ['/plan', 'text/html'],
    ['/plan.css', 'text/css'],
    ['/plan.js', 'text/javascript'],
    ['/plan/model.js', 'text/javascript'],
    ['/icon.svg', 'image/svg+xml'],
    ['/console.json', 'application/json'],
  ] as const) {
    const asset = assets.get(path)!;
    assert.ok(asset.type.startsWith(type), path);
    assert.ok(asset.body.length > 0, path);
    assert.match(asset.headers['Content-Security-Policy']!, /default-src 'none'/);
  }
  assert.deepEqual(JSON.parse(assets.get('/console.json')!.body.toString()), { pushUrl: 'http://127.0.0.1:7799' });
});

test('everything that the page refers to is served, and nothing that is for developers only', () => {
  const assets = loadConsole({ pushUrl: '' });
  for (const [path, { type, body }] of assets) {
    assert.doesNotMatch(path, /\.d\.ts$|tsconfig/);
    const text = body.toString();
    const references = type.startsWith('text/html')
      ? [...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, reference]) => reference!)
      : type.startsWith('text/javascript')
        ? [...text.matchAll(/from '(\.\/[^']+)'/g)].map(
            ([, reference]) => new URL(reference!, `http://host${path}`).pathname,
          )
        : [];
    for (const reference of references) assert.ok(assets.has(reference), `${path} needs ${reference}`);
  }
});

test('the policy lets the page reach the origin of the push API and no other', () => {
  assert.match(
    policyOf('https://push.example:8443/base?x'),
    /connect-src 'self' ws: wss: https:\/\/push\.example:8443;/,
  );
  for (const none of ['', 'not an address', "x; script-src 'unsafe-inline'"])
    assert.match(policyOf(none), /connect-src 'self' ws: wss:;/);
});

test('nothing in the pages is inline, which the policy would refuse', () => {
  for (const page of ['/', '/plan']) {
    const html = loadConsole({ pushUrl: '' }).get(page)!.body.toString();
    assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|<script(?![^>]* src=)/);
  }
});

test("what the capacity plan is made of is served as JavaScript, without a warning of Node's", async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  const assets = loadConsole({ pushUrl: '' });
  // Warnings are told in a later turn.
  await setImmediate();
  process.off('warning', listen);
  assert.deepEqual(warnings, []);
  const model = assets.get('/plan/model.js')!.body.toString();
  assert.match(model, /export function plan\(/);
  assert.doesNotMatch(model, /export type|: Inputs|\.ts'/);
  assert.equal(assets.get('/plan/model.test.js'), undefined);
});
