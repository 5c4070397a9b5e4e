import { dirname, extname, join, normalize } from 'node:path/posix';
import { PLACES } from './contents.ts';
import { anchorsOf, linksOf, titleOf, withLinks } from './markdown.ts';

/** The repository as the site reads it. Paths count from its root. */
export type Repository = {
  /** undefined: no such file. */
  read(path: string): string | undefined;
  /** Names in a folder; undefined: no such folder. */
  list(path: string): readonly string[] | undefined;
};

/** Folder of the site with files of the repository that pages link to: examples, sources, values. */
const REPOSITORY = 'repository';
const PICTURE = /\.(png|svg)$/;
const LANGUAGES: Readonly<Record<string, string>> = { '.yaml': 'yaml', '.ts': 'ts', '.json': 'json', '.sh': 'sh' };

/**
 * Makes the site's pages: files of Markdown by their path on the site. A link to a page of the repository leads to that page on the
 * site; a link to another file leads to a page that shows this file. A link that leads nowhere stays: the build refuses it.
 * @param sources Paths of the pages to begin with. What they link to comes along.
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

/** Where a page's links lead nowhere, a line each: no such file, or no such heading in it. */
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

/** The path that a link of `source` means; undefined where it leads out of the repository, or stays on its page. */
function pathOf(source: string, target: string): string | undefined {
  if (target === '' || isElsewhere(target)) return undefined;
  return normalize(join(dirname(source), target)).replace(/\/$/, '');
}

function isElsewhere(target: string): boolean {
  return /^[a-z]+:/i.test(target);
}

/** A file as a page: Markdown as it is, another file as code, a folder as a list. */
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
