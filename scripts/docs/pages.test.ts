import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { CONTENTS } from './contents.ts';
import { deadLinks, type Repository, sitePages } from './pages.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** Generated from descriptions of fields, with one line for each paragraph or message. */
const GENERATED = ['docs/reference/pushcluster.md', 'docs/reference/changes.md'];

/** Pages that also mention removed names. */
const RECORDS = ['docs/decisions.md', 'CHANGELOG.md'];

/** Folders that programs of the repository create, or that a reader of a tutorial has. */
const MADE = ['bench-results/', 'client/dist/', 'dist/', 'src/'];

/** Generated parts of a page. */
const FIGURES = /<!-- figures: [\s\S]*?<!-- end -->/g;

/** A repository with these files. */
function repositoryOf(files: Record<string, string>): Repository {
  return {
    read: (path) => files[path],
    list: (path) => {
      const names = Object.keys(files)
        .filter((name) => name.startsWith(`${path}/`))
        .map((name) => name.slice(path.length + 1));
      return names.length > 0 ? names : undefined;
    },
  };
}

const HERE: Repository = {
  read: (path) => attempt(() => readFileSync(join(ROOT, path), 'utf8')),
  list: (path) => attempt(() => readdirSync(join(ROOT, path))),
};

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

describe('the pages of the site', () => {
  const repository = repositoryOf({
    'docs/README.md': '# Home\n\n[a](how-to/a.md#x) ![p](images/p.svg)\n',
    'docs/how-to/a.md':
      '# A\n\n[e](../../examples/one.yaml) [all](../../examples) [c](../../charts/pushcluster/README.md)\n',
    'examples/one.yaml': 'a: 1\n',
    'charts/pushcluster/README.md': '# The chart\n\n[a](../../docs/how-to/a.md) [gone](gone.md)\n',
  });
  const pages = sitePages(['docs/README.md'], repository);

  it('are those of docs/ at their own paths, with links from the root of the site', () => {
    assert.equal(pages.get('index.md'), '# Home\n\n[a](/how-to/a.md#x) ![p](/images/p.svg)\n');
  });

  it('are also the files and folders of the repository that pages link to, as pages that show them', () => {
    assert.equal(
      pages.get('how-to/a.md'),
      '# A\n\n[e](/repository/examples/one-yaml.md) [all](/repository/examples.md) [c](/reference/chart.md)\n',
    );
    assert.equal(pages.get('repository/examples/one-yaml.md'), '# examples/one.yaml\n\n````yaml\na: 1\n````\n');
    assert.match(pages.get('repository/examples.md') ?? '', /\[one\.yaml\]\(\/repository\/examples\/one-yaml\.md\)/);
    assert.equal(pages.size, 5);
  });

  it('keep a link that leads nowhere, for the build to refuse', () => {
    assert.match(pages.get('reference/chart.md') ?? '', /\[a\]\(\/how-to\/a\.md\) \[gone\]\(gone\.md\)/);
  });

  it('name files and headings that are not there', () => {
    const text = '# B\n\n[1](a.md#a) [2](a.md#b) [3](no.md) [4](#b) [5](#c) [6](https://example.com/#x)\n';
    assert.deepEqual(deadLinks('docs/how-to/b.md', text, repository), [
      'docs/how-to/b.md: no heading #b in docs/how-to/a.md',
      'docs/how-to/b.md: no file docs/how-to/no.md',
      'docs/how-to/b.md: no heading #c in docs/how-to/b.md',
    ]);
  });
});

describe('the runbook', () => {
  it('names panels by titles that dashboards have', () => {
    const dashboards = globSync('charts/pushcluster/dashboards/*.json', { cwd: ROOT })
      .map((file) => HERE.read(file)!)
      .join();
    const named = [...HERE.read('docs/how-to/runbook.md')!.matchAll(/"([A-Z][^"]+)"/g)].map(([, title = '']) =>
      title.replaceAll(/\s+/g, ' '),
    );
    assert.ok(named.length > 5);
    assert.deepEqual(
      named.filter((title) => !dashboards.includes(`"title": "${title}`)),
      [],
    );
  });
});

describe('the Markdown files of the repository', () => {
  const files = globSync('**/*.md', {
    cwd: ROOT,
    exclude: (name) => ['node_modules', '.build', 'dist'].includes(name) || name.startsWith('.pages-'),
  });

  it('link to files and headings that are there', () => {
    assert.deepEqual(
      files.flatMap((file) => deadLinks(file, HERE.read(file)!, HERE)),
      [],
    );
  });

  it('name files of the repository that are there', () => {
    const gone = files
      .filter((file) => !RECORDS.includes(file))
      .flatMap((file) =>
        [...HERE.read(file)!.matchAll(/`([a-z]\w*\/[\w/.-]+\.(?:ts|c|sh|json))`/g)]
          .map(([, path = '']) => path)
          .filter((path) => MADE.every((folder) => !path.startsWith(folder)) && HERE.read(path) === undefined)
          .map((path) => `${file}: ${path}`),
      );
    assert.deepEqual(gone, []);
  });

  it('have no line over 120 columns, tables excepted', () => {
    const long = files
      .filter((file) => !GENERATED.includes(file))
      .flatMap((file) =>
        HERE.read(file)!
          .replace(FIGURES, (figures) => figures.replace(/[^\n]/g, ''))
          .split('\n')
          .map((line, index) => ({ line, place: `${file}:${index + 1}` })),
      )
      .filter(({ line }) => [...line].length > 120 && !line.startsWith('|'));
    assert.deepEqual(
      long.map(({ place }) => place),
      [],
    );
  });

  it('below docs/ are each in the contents of the site, once', () => {
    const listed = CONTENTS.flatMap(({ pages }) => pages);
    const pages = globSync('docs/**/*.md', { cwd: ROOT, exclude: (name) => name === 'site' });
    assert.deepEqual(
      listed.filter((page) => page.startsWith('docs/')).sort(),
      pages.filter((page) => page !== 'docs/README.md').sort(),
    );
  });
});
