import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { open, startChromium, type WatchedPage } from '../harness/browser.ts';
import { type StaticServer, startStaticServer } from '../harness/staticServer.ts';
import { until } from '../harness/until.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

describe('the documentation as a site', () => {
  const site = mkdtempSync(join(tmpdir(), 'docs-'));
  let server: StaticServer;
  let browser: Browser;

  before(async () => {
    // npm needs a registry once; from then on what it has installed is enough.
    await promisify(execFile)(join(ROOT, 'scripts/install.sh'), ['docs/site']);
    await promisify(execFile)(process.execPath, [join(ROOT, 'scripts/docs.ts'), site]);
    [server, browser] = await Promise.all([startStaticServer(site), startChromium()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    rmSync(site, { recursive: true, force: true });
  });

  /** Opens a page, and notes each request that leaves this machine. */
  async function opened(path: string, options: Parameters<typeof open>[2] = {}): Promise<WatchedPage> {
    const watched = await open(browser, 'about:blank', options);
    const { page, complaints } = watched;
    page.on('request', (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol !== 'data:' && origin !== server.url) complaints.push(`a request to ${request.url()}`);
    });
    await page.goto(server.url + path, { waitUntil: 'load' });
    await page.waitForSelector('.vp-doc h1');
    return watched;
  }

  async function leaveClean({ page, complaints }: WatchedPage): Promise<void> {
    await page.context().close();
    assert.deepEqual(complaints, []);
  }

  /** Paths of the pages in the menu. */
  async function menu(page: Page): Promise<string[]> {
    const links = await page.locator('.VPSidebar .items a').all();
    return Promise.all(links.map(async (link) => (await link.getAttribute('href'))!));
  }

  it('can be read on a phone: no page is wider than the screen, and none asks another host for anything', async () => {
    const watched = await opened('/', PHONE);
    const paths = ['/index.html', ...(await menu(watched.page))];
    const wide: string[] = [];
    for (const path of paths) {
      await watched.page.goto(server.url + path, { waitUntil: 'load' });
      await watched.page.waitForSelector('.vp-doc h1');
      const width = await watched.page.evaluate('document.documentElement.scrollWidth');
      if (width !== PHONE.viewport.width) wide.push(`${path} is ${width} px wide`);
    }
    assert.ok(paths.length > 15, 'the menu has its pages');
    assert.deepEqual(wide, []);
    await leaveClean(watched);
  });

  it('has a menu with a section for each kind of reader, and its links lead there', async () => {
    const watched = await opened('/');
    const sections = watched.page.locator('.VPSidebar .level-0');
    const titles = await sections.locator('> .item').allTextContents();
    assert.deepEqual(
      titles.map((title) => title.trim()),
      ['Tutorials', 'How-to guides', 'Reference', 'Explanation', 'Contributing'],
    );
    for (const section of await sections.all()) {
      const link = section.locator('.items a').first();
      const path = await link.getAttribute('href');
      await link.click();
      await watched.page.waitForURL(({ pathname }) => pathname === path);
      await watched.page.waitForSelector('.vp-doc h1');
    }
    await leaveClean(watched);
  });

  it('finds a word without a network', async () => {
    const watched = await opened('/', PHONE);
    await watched.page.click('#local-search button');
    await watched.page.fill('#localsearch-input', 'drain');
    const results = watched.page.locator('.VPLocalSearchBox .result');
    await until('there are results', async () => (await results.count()) > 3);
    await results.filter({ hasText: /drain/i }).first().click();
    await watched.page.waitForSelector('.VPLocalSearchBox', { state: 'detached' });
    await until('the page is shown', async () => /drain/i.test((await watched.page.textContent('.vp-doc')) ?? ''));
    await leaveClean(watched);
  });

  it('has no link to a page, a picture or a heading that is not there', () => {
    const files = globSync('**/*.html', { cwd: site });
    const html = new Map(files.map((file) => [file, readFileSync(join(site, file), 'utf8')]));
    const all = new Set(globSync('**/*', { cwd: site }));
    const dead: string[] = [];
    for (const [file, text] of html)
      for (const [, link = ''] of text.matchAll(/<(?:a|img)\b[^>]*?\b(?:href|src)="([^"]*)"/g)) {
        if (/^[a-z]+:/i.test(link)) continue;
        const [path = '', anchor = ''] = link.split('#');
        const target = path === '' ? file : normalize(path.startsWith('/') ? path.slice(1) : join(dirname(file), path));
        const page = target === '' || target === '.' ? 'index.html' : target;
        if (!all.has(page)) dead.push(`${file}: ${link}`);
        else if (anchor !== '' && !html.get(page)?.includes(` id="${decodeURIComponent(anchor)}"`))
          dead.push(`${file}: ${link}`);
      }
    assert.ok(html.size > 15, 'the site has its pages');
    assert.deepEqual(dead, []);
  });
});
