import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { PATIENCE_MS } from './until.ts';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';

/**
 * Starts a real Chromium without a window: Debian's, or the program in CHROMIUM. Close the browser at the end of the
 * test.
 */
export function startChromium(): Promise<Browser> {
  // Chromium's sandbox needs privileges that root in a container lacks. The tests open only pages of this project.
  return chromium.launch({ executablePath: EXECUTABLE, chromiumSandbox: false, timeout: PATIENCE_MS });
}

/** A page and its problems: violations of its security policy, errors, failed requests. */
export type WatchedPage = { page: Page; complaints: string[] };

/** Opens `url` in a new browser context. */
export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('requestfailed', (request) => {
    const problem = request.failure()?.errorText;
    // A reload aborts the requests of the previous page, such as the request for its icon.
    if (problem !== 'net::ERR_ABORTED') complaints.push(`${request.url()} ${problem}`);
  });
  await page.exposeFunction('complain', (text: string) => complaints.push(text));
  await page.addInitScript(`
    addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
      complain(violatedDirective + ' ' + blockedURI));
  `);
  await page.goto(url);
  return { page, complaints };
}
