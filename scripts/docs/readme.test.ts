import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { CONTENTS } from './contents.ts';

const ROOT = resolve(import.meta.dirname, '../..');

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

test('each figure of README.md is one of the results in docs/explanation/performance.md', () => {
  const results = read('docs/explanation/performance.md')
    .split('\n')
    .filter((line) => line.startsWith('|'));
  const rows = read('README.md')
    .split('\n')
    .filter((line) => line.startsWith('|') && line.includes('`make bench CASE='));
  assert.ok(rows.length >= 3);
  for (const row of rows) {
    const [, , ours = '', reference = '', command = ''] = row.split('|');
    const name = /CASE=(\w+)/.exec(command)?.[1] ?? '';
    const figures = [ours, reference].flatMap((cell) => cell.match(/\d[\d,.]*/g) ?? []);
    const found = results.filter((line) => figures.every((figure) => line.includes(figure)));
    assert.ok(figures.length > 0 && found.length > 0, `no line of the results has ${figures.join(' and ')} (${name})`);
  }
});

test('README.md links each page that is for users', () => {
  const pages = CONTENTS.flatMap((section) => section.pages).filter((page) => !page.startsWith('docs/contributing/'));
  const readme = read('README.md');
  assert.deepEqual(
    pages.filter((page) => !readme.includes(`(${page}`)),
    [],
  );
});
