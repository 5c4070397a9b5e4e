import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { documents, filled } from './documents.ts';

test('docs/explanation/capacity.md and its pictures are what model and simulation say now', () => {
  for (const [file, text] of documents()) {
    const found = readFileSync(join(import.meta.dirname, '../..', file), 'utf8');
    assert.ok(found === text, `${file} is old: run \`make simulate DOCS=1\``);
  }
});

test('figures have a place each, and each place its figures', () => {
  const page = 'a\n<!-- figures: x -->\nold\n<!-- end -->\nb\n';
  assert.equal(filled(page, { x: 'new' }), 'a\n<!-- figures: x -->\n\nnew\n\n<!-- end -->\nb\n');
  assert.equal(filled(filled(page, { x: 'new' }), { x: 'new' }), filled(page, { x: 'new' }));
  assert.throws(() => filled(page, {}), /no figures "x"/);
  assert.throws(() => filled(page, { x: '1', y: '2' }), /no place for the figures "y"/);
});
