import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bundle } from './bundle.ts';

test('the whole bundle is less than 7 KiB, minified and gzipped, and imports nothing', async () => {
  const code = await bundle();
  const size = gzipSync(code, { level: 9 }).length;
  assert.ok(size < 7_168, `${size} bytes`);
  assert.doesNotMatch(code, /\bimport\b|\brequire\(/);
});

test('nothing is called that browsers of three years ago lack', async () => {
  const newer =
    /isWellFormed|withResolvers|toSorted|toSpliced|toReversed|\bgroupBy|fromAsync|AbortSignal\.any|Promise\.try/;
  assert.doesNotMatch(await bundle(), newer);
});
