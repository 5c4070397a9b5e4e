import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { parseJson } from './parseJson.ts';

test('text and bytes are parsed, a part of a larger buffer too', () => {
  assert.deepEqual(parseJson('{"a":[1]}'), { a: [1] });
  assert.deepEqual(parseJson(Buffer.from('"ü"')), 'ü');
  assert.equal(parseJson(new TextEncoder().encode('x 7 y').subarray(2, 3)), 7);
});

test('what is not JSON is undefined', () => {
  for (const text of ['', '{', 'undefined', "'a'", '1 2']) assert.equal(parseJson(text), undefined);
});

test('a schema decides what passes, and what of it', () => {
  const schema = z.object({ n: z.number() });
  assert.deepEqual(parseJson('{"n":1,"other":2}', schema), { n: 1 });
  assert.equal(parseJson('{"n":"1"}', schema), undefined);
  assert.equal(parseJson('{"n":1', schema), undefined);
});
