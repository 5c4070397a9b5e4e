import { dirname, extname, join, normalize } from 'node:path/posix';
import { PLACES } from './contents.ts';
import { anchorsOf, linksOf, titleOf, withLinks } from './markdown.ts';

/** The repository, as input of the site. Paths are relative to its root. */
export type Repository = {
  /** The text of a file; undefined if there is no such file. */
  read(path: string): string | undefined;
  /** The names in a folder; undefined if there is no such folder. */
  list(path: string): readonly string[] | undefined;
};

/** Folder of the site for files that pages link to: examples, sources, values. */
const REPOSITORY = 'repository';
const PICTURE = /\.(png|svg)$/;
const LANGUAGES: Readonly<Record<string, string>> = { '.yaml': 'yaml', '.ts': 'ts', '.json': 'json', '.sh': 'sh' };

/**
 * Makes the site's pages: Markdown files by their path on the site. A link to a page of the repository leads to that
 * page on the site; a link to another file leads to a page that shows this file. A broken link stays, and VitePress
 * refuses to build it.
 * @param sources paths of the first pages. The pages and files to which they link are added.
 */
export function sitePages(sources: readonly string[], repository: Repository): Map<string, string> {
  const pages = new Map<string, string>();
  const queue = [...sources];
  for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
    const place = placeOf(source);
    if (pages.has(place)) continue;
    const markdown = markdownOf(source, repository);
    if (markdown === undefined) continue;
    pages.set(
      place,
      withLinks(markdown, ({ target, anchor }) => {
        const path = pathOf(source, target);
        if (path === undefined) return target + anchor;
        if (PICTURE.test(path)) return `/${siteName(path)}`;
        if (repository.read(path) === undefined && repository.list(path) === undefined) return target + anchor;
        queue.push(path);
        return `/${placeOf(path)}${anchor}`;
      }),
    );
  }
  return pages;
}

/** Broken links of a page, one line each: the file does not exist, or has no such heading. */
export function deadLinks(source: string, markdown: string, repository: Repository): string[] {
  return linksOf(markdown).flatMap(({ target, anchor }) => {
    if (isElsewhere(target)) return [];
    const path = target === '' ? source : pathOf(source, target)!;
    const text = target === '' ? markdown : repository.read(path);
    if (text === undefined && repository.list(path) === undefined) return [`${source}: no file ${path}`];
    if (anchor === '' || !path.endsWith('.md')) return [];
    return anchorsOf(text ?? '').includes(anchor.slice(1)) ? [] : [`${source}: no heading ${anchor} in ${path}`];
  });
}

/** The path on the site of a file or folder of the repository. */
export function placeOf(path: string): string {
  const place = PLACES[path] ?? siteName(path);
  return place.endsWith('.md') ? place : `${place.replaceAll('.', '-')}.md`;
}

function siteName(path: string): string {
  return path.startsWith('docs/') ? path.slice('docs/'.length) : join(REPOSITORY, path);
}

/** The path that a link in `source` refers to; undefined for external links and links within the page. */
function pathOf(source: string, target: string): string | undefined {
  if (target === '' || isElsewhere(target)) return undefined;
  return normalize(join(dirname(source), target)).replace(/\/$/, '');
}

function isElsewhere(target: string): boolean {
  return /^[a-z]+:/i.test(target);
}

/** A file as a page: Markdown unchanged, other files as code, a folder as a list. */
function markdownOf(path: string, repository: Repository): string | undefined {
  const text = repository.read(path);
  if (text === undefined) {
    const names = repository.list(path);
    return (
      names &&
      [`# ${path}`, '', ...names.map((name) => `- [${name}](${path.split('/').at(-1)}/${name})`), ''].join('\n')
    );
  }
  if (path.endsWith('.md')) return titleOf(text) === '' ? `# ${path}\n\n${text}` : text;
  return [`# ${path}`, '', `\`\`\`\`${LANGUAGES[extname(path)] ?? 'text'}`, text.trimEnd(), '````', ''].join('\n');
}
