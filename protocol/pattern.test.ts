import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matches, overlap } from './pattern.ts';

/** The same by a regular expression, which is slow on purpose-made patterns. */
function matchesByRegExp(pattern: string, text: string): boolean {
  const literal = pattern.split('*').map((part) => part.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`, 's').test(text);
}

test('`*` stands for any run of characters, all else for itself', () => {
  const few = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
  const any = fc.string({ unit: 'grapheme', maxLength: 8 });
  fc.assert(
    fc.property(few, fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 }), (pattern, text) => {
      assert.equal(matches(pattern, text), matchesByRegExp(pattern, text));
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(any, any, any, (a, b, text) => {
      const pattern = `${a}*${b}`;
      assert.equal(matches(pattern, `${a}${text}${b}`), true);
      assert.equal(matches(pattern, text), matchesByRegExp(pattern, text));
    }),
  );
});

test('characters that mean something elsewhere mean nothing here', () => {
  assert.equal(matches('a.c', 'abc'), false);
  assert.equal(matches('[a-z]', 'a'), false);
  assert.equal(matches('?', 'a'), false);
  assert.equal(matches('https://*.example.org', 'https://live.example.org'), true);
  assert.equal(matches('https://*.example.org', 'https://example.org'), false);
  assert.equal(matches('', ''), true);
  assert.equal(matches('', 'a'), false);
  assert.equal(matches('*', ''), true);
});

test('a pattern made to be slow looks at no more characters than the product of both lengths', () => {
  const text = 'a'.repeat(1_024);
  for (const pattern of [`${'*a'.repeat(60)}b`, `*${'a'.repeat(60)}b`, `${'*'.repeat(60)}b`]) {
    let reads = 0;
    const counted = new Proxy([...text], {
      get(characters, key) {
        if (key !== 'length') reads++;
        return Reflect.get(characters, key);
      },
    });
    assert.equal(matches(pattern, counted as unknown as string), false);
    assert.ok(reads >= text.length && reads <= pattern.length * text.length, `${reads} characters for ${pattern}`);
  }
});

test('two patterns overlap where some text matches both, whichever is named first', () => {
  const texts = [''];
  for (let from = 0; texts.length < 127; from++) texts.push(`${texts[from]}a`, `${texts[from]}b`);
  // A shortest common text of two such patterns has no more than six characters.
  const few = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 3 });
  fc.assert(
    fc.property(few, few, (one, other) => {
      const expected = texts.some((text) => matches(one, text) && matches(other, text));
      assert.equal(overlap(one, other), expected);
      assert.equal(overlap(other, one), expected);
    }),
    { numRuns: 3_000 },
  );
  assert.equal(overlap('live-*', '*-vip'), true);
  assert.equal(overlap('live-*', 'chat-*'), false);
});
