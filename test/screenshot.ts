/** Makes docs/images/console.png: the console while a room is busy. `make screenshot`. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { open, startChromium } from './harness/browser.ts';
import { startStandalone } from './harness/standalone.ts';

/** As long as the sparklines show. */
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

const folder = join(import.meta.dirname, '..', 'docs', 'images');
const [standalone, browser] = await Promise.all([startStandalone([7777, 7799, 9090]), startChromium()]);
try {
  const { page } = await open(browser, `${standalone.page}/#room=demo`, {
    viewport: { width: 1360, height: 960 },
    deviceScaleFactor: 1.5,
    colorScheme: 'light',
  });
  await page.waitForSelector('#chips li[data-state=joined]');
  const end = performance.now() + SECONDS * 1_000;
  for (let i = 0; performance.now() < end; i++) {
    const color = COLORS[(i * 7) % COLORS.length];
    const text = COMMENTS[(i * 5) % COMMENTS.length];
    await standalone.push({ room: 'demo' }, [{ text, ...(color && { color }) }]);
    // A crowd comes in waves.
    await setTimeout(185 + 70 * Math.sin(i / 12) + 40 * Math.sin(i / 3));
    if (i % 12 === 0) await page.click('#push-one');
  }
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, 'console.png') });
} finally {
  await browser.close();
  await standalone.stop();
}
