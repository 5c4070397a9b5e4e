/**
 * Takes docs/images/console.png, the console with a busy room, and plan.png, the capacity plan: `make screenshot`, or one of
 * them with `make screenshot PAGE=plan`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { open, startChromium } from './harness/browser.ts';
import { startStandalone } from './harness/standalone.ts';

/** Length of the sparklines. */
const SECONDS = 60;
const COMMENTS = [
  'What a save!',
  'Good evening from Lisbon',
  '¡Vamos!',
  'GOAL',
  'Greetings from Nairobi',
  'Wunderschön',
  'Who is winning?',
  'Best stream this year',
  'Can you hear the crowd?',
  'Bravo !',
  'That was close',
  'Привет из Казани',
  'Che bello',
  'See you all tomorrow',
  'Encore',
  'First time here, hello',
];
const COLORS = [undefined, undefined, '#ffd43b', '#ff8787', undefined, '#69db7c', '#74c0fc', undefined, '#e599f7'];

const PAGES = { console: consolePage, plan: planPage };

const folder = join(import.meta.dirname, '..', 'docs', 'images');
const chosen = process.env.PAGE;
if (chosen && !(chosen in PAGES))
  throw new Error(`there is no page ${chosen}: PAGE is ${Object.keys(PAGES).join(' or ')}`);
mkdirSync(folder, { recursive: true });
const [standalone, browser] = await Promise.all([startStandalone([7777, 7799, 9090]), startChromium()]);
try {
  for (const [name, page] of Object.entries(PAGES))
    if (!chosen || chosen === name) await (await page()).screenshot({ path: join(folder, `${name}.png`) });
} finally {
  await browser.close();
  await standalone.stop();
}

async function consolePage(): Promise<Page> {
  const page = await shown('/#room=demo', 960);
  await page.waitForSelector('#chips li[data-state=joined]');
  const end = performance.now() + SECONDS * 1_000;
  for (let i = 0; performance.now() < end; i++) {
    const color = COLORS[(i * 7) % COLORS.length];
    const text = COMMENTS[(i * 5) % COMMENTS.length];
    await standalone.push({ room: 'demo' }, [{ text, ...(color && { color }) }]);
    // The rate rises and falls, as with a real audience.
    await setTimeout(185 + 70 * Math.sin(i / 12) + 40 * Math.sin(i / 3));
    if (i % 12 === 0) await page.click('#push-one');
  }
  return page;
}

async function planPage(): Promise<Page> {
  const page = await shown('/plan', 900);
  await page.waitForSelector('#shares li');
  return page;
}

async function shown(path: string, height: number): Promise<Page> {
  const { page } = await open(browser, `${standalone.page}${path}`, {
    viewport: { width: 1360, height },
    deviceScaleFactor: 1.5,
    colorScheme: 'light',
  });
  return page;
}
