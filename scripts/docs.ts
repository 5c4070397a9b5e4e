import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CONTENTS } from './docs/contents.ts';
import { titleOf } from './docs/markdown.ts';
import { placeOf, type Repository, sitePages } from './docs/pages.ts';

/**
 * `node scripts/docs.ts [FOLDER]`: builds the documentation site in FOLDER (default: dist/docs). Needs the packages of
 * docs/site/package-lock.json (`scripts/install.sh docs/site`), and no network.
 */

const ROOT = resolve(import.meta.dirname, '..');
const SITE = join(ROOT, 'docs/site');

const repository: Repository = {
  read: (path) => readOrNothing(() => readFileSync(join(ROOT, path), 'utf8')),
  list: (path) => readOrNothing(() => readdirSync(join(ROOT, path)).filter((name) => name !== 'node_modules')),
};

const out = resolve(process.argv[2] ?? join(ROOT, 'dist/docs'));
// Below the site's folder, so that the compiled pages find their packages.
const pages = join(SITE, `.pages-${process.pid}`);
try {
  writePages(pages);
  // VitePress writes intermediate files into the site's folder, so only one build can run at a time.
  const vitepress = [process.execPath, 'node_modules/vitepress/bin/vitepress.js', 'build', '.'];
  const { status } = spawnSync('flock', [join(ROOT, '.build/docs.lock'), ...vitepress], {
    cwd: SITE,
    stdio: 'inherit',
    env: { ...process.env, DOCS_PAGES: pages, DOCS_OUT: out },
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(pages, { recursive: true, force: true });
}

function writePages(folder: string): void {
  const sources = globSync('docs/**/*.md', { cwd: ROOT, exclude: (name) => name === 'site' });
  for (const [place, text] of sitePages([...sources, ...CONTENTS.flatMap(({ pages }) => pages)], repository)) {
    const file = join(folder, place);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  cpSync(join(ROOT, 'docs/images'), join(folder, 'public/images'), { recursive: true });
  const contents = CONTENTS.map(({ title, pages }) => ({
    text: title,
    items: pages.map((path) => ({ text: titleOf(repository.read(path) ?? ''), link: `/${placeOf(path)}` })),
  }));
  writeFileSync(join(folder, 'contents.json'), JSON.stringify(contents));
}

function readOrNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
