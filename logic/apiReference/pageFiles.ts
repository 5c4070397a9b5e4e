import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ERROR_CATALOGUE } from '../errors/errorCatalogue.ts';

/** A file of the page, as it is served. */
export type PageFile = { type: string; headers: Record<string, string>; read: () => Promise<Buffer> };

const HTML = 'text/html; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const JAVASCRIPT = 'text/javascript; charset=utf-8';

/**
 * Only files of this server and requests to it: the page works offline and can't send an API key elsewhere. Images are
 * icons in Swagger UI's style sheet.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };
const CHANGING = { ...HEADERS, 'cache-control': 'no-cache' };
/** For files whose path has their version. */
const IMMUTABLE = { ...HEADERS, 'cache-control': 'public, max-age=31536000, immutable' };

/**
 * The page at `/docs` and its files, by path: Swagger UI and what starts it. A file is read at its first request. All
 * requests share its bytes: a client that asks for it many times and reads nothing holds no copies.
 * @throws Error if Swagger UI is not installed
 */
export function pageFiles(): Map<string, PageFile> {
  const { resolve } = createRequire(import.meta.url);
  const manifest = resolve('swagger-ui-dist/package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  const swaggerUi = (name: string) => readOnce(() => readFile(join(manifest, '..', name)));
  const own = (name: string) => readOnce(() => readFile(join(import.meta.dirname, name)));
  return new Map<string, PageFile>([
    [
      '/docs',
      { type: HTML, headers: { ...CHANGING, 'content-security-policy': POLICY }, read: readOnce(() => page(version)) },
    ],
    ['/docs/page.js', { type: JAVASCRIPT, headers: CHANGING, read: own('page.js') }],
    ['/docs/page.css', { type: CSS, headers: CHANGING, read: own('page.css') }],
    [
      `/docs/${version}/swagger-ui-bundle.js`,
      { type: JAVASCRIPT, headers: IMMUTABLE, read: swaggerUi('swagger-ui-bundle.js') },
    ],
    [`/docs/${version}/swagger-ui.css`, { type: CSS, headers: IMMUTABLE, read: swaggerUi('swagger-ui.css') }],
  ]);
}

/** Reads at the first call, and again if that failed. */
function readOnce(read: () => Promise<Buffer>): () => Promise<Buffer> {
  let bytes: Promise<Buffer> | undefined;
  return () => {
    bytes ??= read().catch((error: unknown) => {
      bytes = undefined;
      throw error;
    });
    return bytes;
  };
}

async function page(version: string): Promise<Buffer> {
  const html = await readFile(join(import.meta.dirname, 'page.html'), 'utf8');
  return Buffer.from(html.replaceAll('<!--version-->', version).replace('<!--codes-->', codeRows()));
}

function codeRows(): string {
  return Object.entries(ERROR_CATALOGUE)
    .map(
      ([code, { status, title }]) =>
        `<tr id="${code}"><td><code>${code}</code></td><td>${status}</td><td>${title}</td></tr>`,
    )
    .join('\n');
}
