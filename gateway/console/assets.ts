import { readdirSync, readFileSync } from 'node:fs';
import { createRequire, stripTypeScriptTypes } from 'node:module';
import { basename, extname, join } from 'node:path';

/** A file of the console, ready to be served. */
export type Asset = { body: Buffer; type: string; headers: Record<string, string> };

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Reads the files of the console and of the capacity plan once. The keys are URL paths.
 *
 * @param options.pushUrl URL of the push API, as the browser reaches it; '' for none
 * @param options.room room that the page joins as soon as it is opened; none: the page waits for its user
 * @throws Error if the SDK's bundle was not built
 */
export function loadConsole({ pushUrl, room }: { pushUrl: string; room?: string }): Map<string, Asset> {
  const { resolve } = createRequire(import.meta.url);
  const headers = {
    'Content-Security-Policy': policy(pushUrl),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-cache',
  };
  const assets = new Map<string, Asset>();
  const add = (path: string, body: Buffer) => {
    assets.set(path, { body, type: TYPES[extname(path)] ?? 'application/json', headers });
  };
  const page = join(import.meta.dirname, 'page');
  for (const file of readdirSync(page)) if (extname(file) in TYPES) add(`/${file}`, readFileSync(join(page, file)));
  assets.set('/', assets.get('/index.html')!);
  assets.set('/plan', assets.get('/plan.html')!);
  const plan = join(import.meta.dirname, '..', 'plan');
  for (const file of readdirSync(plan))
    if (!file.endsWith('.test.ts')) add(`/plan/${basename(file, extname(file))}.js`, moduleOf(join(plan, file)));
  add('/sdk.js', readBundle(resolve('@pushcluster/client/package.json')));
  add('/danmaku.js', readFileSync(resolve('danmaku/dist/esm/danmaku.dom.min.js')));
  add('/console.json', Buffer.from(JSON.stringify({ pushUrl, room })));
  return assets;
}

/**
 * The Content-Security-Policy: scripts and styles from the page's own files only, connections to any gateway and to one
 * push API, no markup made from text.
 */
function policy(pushUrl: string): string {
  const push = URL.canParse(pushUrl) ? ` ${new URL(pushUrl).origin}` : '';
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' ws: wss:${push}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ');
}

/** A module that Node runs too, as JavaScript for browsers. An image holds JavaScript already, a checkout TypeScript. */
function moduleOf(path: string): Buffer {
  const source = readFileSync(path);
  if (extname(path) !== '.ts') return source;
  // Node warns that stripTypeScriptTypes may change. The warning would show on every developer's terminal.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    const javaScript = stripTypeScriptTypes(source.toString());
    return Buffer.from(javaScript.replace(/(from '\.\/[^']+)\.ts'/g, "$1.js'"));
  } finally {
    process.emitWarning = emitWarning;
  }
}

function readBundle(manifest: string): Buffer {
  try {
    return readFileSync(join(manifest, '..', 'dist', 'pushcluster.js'));
  } catch (cause) {
    throw new Error(
      'the console needs the SDK, and the SDK is not built: run `make build`, or set gateway.console to false',
      { cause },
    );
  }
}
