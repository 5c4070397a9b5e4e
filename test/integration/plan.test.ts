import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { queryOf } from '@pushcluster/gateway/plan/address.ts';
import { DEFAULTS, EXAMPLES } from '@pushcluster/gateway/plan/examples.ts';
import { plan } from '@pushcluster/gateway/plan/model.ts';
import { figures, shares, verdict } from '@pushcluster/gateway/plan/summary.ts';
import type { Browser, Page } from 'playwright-core';
import { open, startChromium, type WatchedPage } from '../harness/browser.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';
import { until } from '../harness/until.ts';

const PHONE = { viewport: { width: 360, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

describe('the capacity plan in Chromium', () => {
  let standalone: Standalone;
  let browser: Browser;

  before(async () => {
    [standalone, browser] = await Promise.all([startStandalone(), startChromium()]);
  });
  after(async () => {
    await browser?.close();
    await standalone?.stop();
  });

  async function opened(query = '', options: Parameters<typeof open>[2] = {}): Promise<WatchedPage> {
    const watched = await open(browser, `${standalone.page}/plan${query}`, options);
    await watched.page.waitForSelector('#shares li');
    return watched;
  }

  async function leaveClean({ page, complaints }: WatchedPage): Promise<void> {
    await page.context().close();
    assert.deepEqual(complaints, []);
  }

  it('shows each worked example with the figures that the docs have', async () => {
    const watched = await opened();
    const { page } = watched;
    for (const { title, inputs } of EXAMPLES) {
      await page.click(`#examples a:text-is(${JSON.stringify(title)})`);
      const planned = plan(inputs);
      assert.deepEqual(await shown(page), {
        verdict: verdict(inputs, planned),
        figures: figures(inputs, planned).map(({ name, value, note }) => [name, value, ...(note ? [note] : [])]),
        shares: shares(planned).map(({ name, value }) => `${name}${value}`),
      });
      assert.equal(await page.getAttribute(`#examples a:text-is(${JSON.stringify(title)})`, 'aria-current'), 'true');
    }
    await leaveClean(watched);
  });

  it('counts anew with each keystroke, and the address carries the plan to whom it is sent', async () => {
    const watched = await opened();
    const { page } = watched;
    const inputs = { ...DEFAULTS, people: 250_000, window: 0.5, compression: true, line: 25 };
    const before = await shown(page);
    await page.getByLabel('People online').fill('250000');
    await page.getByLabel('Merge window').fill('0.5');
    await page.getByLabel('Bandwidth').fill('25');
    await page.getByLabel('Compression').check();
    const changed = await shown(page);
    assert.notDeepEqual(changed, before);
    assert.equal(changed.verdict, verdict(inputs, plan(inputs)));
    // Asked of the page itself: Playwright hears of a changed address later.
    const search = await page.evaluate<string>('location.search');
    assert.equal(search, `?${queryOf(inputs)}`);
    const other = await opened(search);
    assert.deepEqual(await shown(other.page), changed);
    assert.equal(await other.page.inputValue('[name=people]'), '250000');
    await leaveClean(other);
    await leaveClean(watched);
  });

  it('says which number is wrong in place of a plan, and goes on when it is right again', async () => {
    const watched = await opened();
    const { page } = watched;
    await page.getByLabel('Merge window').fill('11');
    assert.match((await page.textContent('#verdict'))!, /^Merge window: /);
    assert.equal(await page.locator('#shares li').count(), 0);
    assert.equal(await page.getAttribute('[name=window]', 'aria-invalid'), 'true');
    const [answer, limits] = [await page.locator('.answer').boundingBox(), await page.locator('.limits').boundingBox()];
    assert.equal(Math.round(limits!.y - answer!.y - answer!.height), 16, 'cards stand together beside the longer form');
    await page.getByLabel('Merge window').fill('1');
    await page.getByLabel('Rooms').fill('2000000');
    assert.match((await page.textContent('#verdict'))!, /^rooms must not exceed people \(\d+\), but is 2000000/);
    await page.getByLabel('Rooms').fill('1');
    assert.equal(await page.locator('#shares li').count(), 6);
    await leaveClean(watched);
  });

  it('works without a network once it is open', async () => {
    const { page } = await opened();
    const asked: string[] = [];
    page.on('request', (request) => {
      // Chromium fetches a page's icon when it finds the time.
      if (!request.url().endsWith('/icon.svg')) asked.push(request.url());
    });
    await page.context().setOffline(true);
    await page.getByLabel('People online').fill('42');
    const inputs = { ...DEFAULTS, people: 42 };
    assert.equal(await page.textContent('#verdict'), verdict(inputs, plan(inputs)));
    assert.deepEqual(asked, []);
    await page.context().close();
  });

  it('fits a phone in both colour schemes: nothing is cut, each control is labelled and large enough', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const watched = await opened('', { ...PHONE, colorScheme });
      const { page } = watched;
      await page.click('summary');
      assert.equal(await page.getAttribute('html', 'lang'), 'en');
      assert.ok(
        await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
        'nothing to scroll sideways',
      );
      const problems = await page.evaluate(`[...document.querySelectorAll('input, button, #examples a')]
        .filter((control) => {
          const { width, height } = (control.closest('label.check') ?? control).getBoundingClientRect();
          const named = control.labels?.length > 0 || control.textContent.trim() !== '';
          return !named || width < 24 || height < 36;
        })
        .map((control) => control.outerHTML)`);
      assert.deepEqual(problems, []);
      await leaveClean(watched);
    }
  });

  it('is a link of the console, and leads back', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    await watched.page.click('footer a');
    await watched.page.waitForSelector('#shares li');
    await watched.page.click('nav a[href="/"]');
    await until('the console is there', async () => (await watched.page.locator('#panel-room').count()) === 1);
    await leaveClean(watched);
  });
});

async function shown(page: Page) {
  return {
    verdict: await page.textContent('#verdict'),
    figures: await Promise.all(
      (await page.locator('#sums > div').all()).map((box) => box.locator('dt, dd').allTextContents()),
    ),
    shares: await page.locator('#shares li').allTextContents(),
  };
}
