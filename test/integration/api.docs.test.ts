import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ERROR_CATALOGUE } from '@pushcluster/logic/errors/errorCatalogue.ts';
import { STAT_INTERVAL_MS } from '@pushcluster/protocol/control.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import type { Browser, Page } from 'playwright-core';
import { type Api, startApi, startHeardApi, temporaryFolder } from '../harness/api.ts';
import { open, startChromium } from '../harness/browser.ts';
import { FakeGateway } from '../harness/fakeGateway.ts';
import { until } from '../harness/until.ts';

const PAGE = readFileSync(new URL('../../docs/reference/api.md', import.meta.url), 'utf8');

/** The commands of a part of docs/reference/api.md, each with the answer printed below it. */
function examples(part: string): { command: string; answer: string }[] {
  return Array.from(
    part.matchAll(/```sh\n([\s\S]*?)```\n\n```json\n([\s\S]*?)```/g),
    ([, command = '', answer = '']) => ({
      command,
      answer,
    }),
  );
}

async function run(api: Api, part: string): Promise<number> {
  const found = examples(part);
  for (const { command, answer } of found) {
    const { stdout } = await promisify(execFile)('bash', ['-c', command.replaceAll(':7799', `:${api.port}`)]);
    assert.deepEqual(JSON.parse(stdout), JSON.parse(answer), command);
  }
  return found.length;
}

const [withoutKeys = '', withKeys = ''] = PAGE.split('\n## API keys\n');

test('the examples of docs/reference/api.md answer as printed', async (t) => {
  const bus = new LocalBus();
  // Longer than a busy machine takes for an answer.
  const api = await startApi(t, { logic: { askTimeout: '3s' } }, bus);
  const gateways = [
    new FakeGateway(bus, 'gateway-a', { 'live-42': 700, lobby: 31 }, { alice: 2 }),
    new FakeGateway(bus, 'gateway-b', { 'live-42': 500, quiet: 1, '..': 1 }, {}),
  ];
  const report = () => {
    for (const gateway of gateways) gateway.report();
  };
  report();
  // As gateways do: a busy machine takes longer for a command than they may be silent.
  const timer = setInterval(report, STAT_INTERVAL_MS);
  t.after(() => clearInterval(timer));
  assert.equal(await run(api, withoutKeys), 12);
});

test('the examples with API keys of docs/reference/api.md answer as printed', async (t) => {
  const file = join(temporaryFolder(t), 'key');
  writeFileSync(file, 'old-key\nnew-key\n');
  const api = await startApi(t, { logic: { apiKeys: [{ name: 'comments', file, scope: { rooms: ['live-*'] } }] } });
  assert.equal(await run(api, withKeys), 2);
});

test('docs/reference/api.md lists every error code with its status', () => {
  const listed = Object.fromEntries(
    Array.from(PAGE.matchAll(/^\| `(\w+)` \| (\d{3}) \|/gm), ([, code, status]) => [code, Number(status)]),
  );
  assert.deepEqual(
    listed,
    Object.fromEntries(Object.entries(ERROR_CATALOGUE).map(([code, { status }]) => [code, status])),
  );
});

describe('the page of the API', () => {
  let browser: Browser;

  before(async () => {
    browser = await startChromium();
  });

  after(async () => {
    await browser.close();
  });

  /** Opens `/docs` and notes what it requests. */
  async function openPage(api: Api, hash = '') {
    const origin = `http://127.0.0.1:${api.port}`;
    const watched = await open(browser, `${origin}/docs${hash}`);
    await watched.page.locator('.opblock').first().waitFor();
    return { ...watched, origin };
  }

  /** Sends the example of `operation` with "Execute"; resolves with status and text of the answer. */
  async function tryIt(page: Page, operation: string, edit?: { body: string }) {
    const block = page.locator(`.opblock[id$="-${operation}"]`);
    if (!(await block.locator('.execute').isVisible())) await block.locator('.opblock-summary-control').click();
    if (edit) await block.locator('.body-param__text').fill(edit.body);
    const answered = page.waitForResponse((response) => response.url().includes('/v1/'));
    await block.locator('.execute').click();
    const answer = await answered;
    const live = block.locator('.live-responses-table');
    await live.getByText(String(answer.status()), { exact: true }).first().waitFor();
    return { status: answer.status(), text: await answer.text(), request: answer.request() };
  }

  test('shows every operation, from this server alone', async (t) => {
    const api = await startApi(t);
    const requested: string[] = [];
    const watched = await open(browser, 'about:blank');
    watched.page.on('request', (request) => requested.push(request.url()));
    const origin = `http://127.0.0.1:${api.port}`;
    await watched.page.goto(`${origin}/docs`);
    await watched.page.locator('.opblock').first().waitFor();
    const { paths } = (await api.request('/openapi.json')).json() as { paths: Record<string, object> };
    const operations = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map(() => path));
    const paragraphs = watched.page.locator('.opblock-summary-path');
    await until('as many operations are shown', async () => (await paragraphs.count()) === operations.length);
    const plain = (path: string) => path.replaceAll('\u200b', '').trim();
    assert.deepEqual((await paragraphs.allTextContents()).map(plain).sort(), operations.sort());
    for (const url of requested) assert.ok(url.startsWith(`${origin}/`) || url.startsWith('data:'), url);
    assert.ok(requested.includes(`${origin}/openapi.json`));
    assert.deepEqual(watched.complaints, []);
  });

  test('sends a push with "Try it out", without an API key on loopback', async (t) => {
    const api = await startHeardApi(t);
    const { page, complaints } = await openPage(api);
    const { status, text } = await tryIt(page, 'push', { body: '{"to":{"room":"live-42"},"items":["hi"]}' });
    assert.deepEqual([status, JSON.parse(text)], [202, { accepted: 1 }]);
    assert.deepEqual(
      api.seen.map(({ to, items }) => [to, items]),
      [['room live-42', ['"hi"']]],
    );
    assert.deepEqual(complaints, []);
  });

  test('takes an API key under "Authorize" and keeps it in the page only', async (t) => {
    const file = join(temporaryFolder(t), 'key');
    writeFileSync(file, 'the-key\n');
    const api = await startApi(t, { logic: { apiKeys: [{ name: 'docs', file }] } });
    const { page, complaints } = await openPage(api);
    const body = '{"to":{"all":true},"items":[1]}';
    assert.equal((await tryIt(page, 'push', { body })).status, 401);
    await page.locator('.btn.authorize').first().click();
    await page.locator('.auth-container input').fill('the-key');
    await page.locator('.auth-container button[type=submit]').click();
    await page.locator('.auth-container .btn-done').click();
    const { status, request } = await tryIt(page, 'push');
    assert.equal(status, 202);
    assert.equal((await request.allHeaders()).authorization, 'Bearer the-key');
    assert.equal(await page.evaluate('JSON.stringify(localStorage) + JSON.stringify(sessionStorage)'), '{}{}');
    assert.ok(
      complaints.every((text) => text.includes('401')),
      complaints.join('\n'),
    );
  });

  test('opens at the error code that a problem document links to', async (t) => {
    const api = await startApi(t);
    const { page } = await openPage(api, '#bus_unavailable');
    await until('its row is in view', () =>
      page.locator('#bus_unavailable').evaluate((row: { getBoundingClientRect(): { top: number } }) => {
        const { top } = row.getBoundingClientRect();
        return top >= 0 && top < 900;
      }),
    );
  });
});
