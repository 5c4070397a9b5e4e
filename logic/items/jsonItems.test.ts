import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Problem } from '../errors/problem.ts';
import { arrayItems, memberItems, parseRequestJson } from './jsonItems.ts';

const bytesOf = (text: string) => Buffer.from(text);
const textsOf = (items: Uint8Array[]) => items.map((item) => Buffer.from(item).toString());
const member = (text: string) => textsOf(memberItems(bytesOf(text), 'items'));

/** JSON texts as people and programs write them: any spacing, escapes, numbers that no double holds. */
const space = fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t'), maxLength: 3 });
const stringText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 6 }).map((text) => JSON.stringify(text).slice(1, -1)),
      fc.constantFrom(
        '\\"',
        '\\\\',
        '\\/',
        '\\n',
        '\\u0041',
        '\\ud83d\\ude00',
        '\\ud800',
        '\\u0000',
        '😀',
        '[',
        '}',
        ',',
        '\u2028',
      ),
    ),
    { maxLength: 5 },
  )
  .map((parts) => `"${parts.join('')}"`);
const numberText = fc.oneof(
  fc.integer().map(String),
  fc.constantFrom(
    '-0',
    '1e400',
    '0.1000000000000000055511151231257827',
    '123456789012345678901234567890',
    '1E+2',
    '-1.5e-3',
  ),
);
const { valueText } = fc.letrec<{ valueText: string }>((tie) => ({
  valueText: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(stringText, numberText, fc.constantFrom('true', 'false', 'null', '{}', '[]')),
    fc
      .array(fc.tuple(space, tie('valueText'), space), { maxLength: 4 })
      .map((items) => `[${items.map((part) => part.join('')).join(',')}]`),
    fc
      .array(fc.tuple(space, stringText, space, space, tie('valueText'), space), { maxLength: 4 })
      .map((members) => `{${members.map(([a, key, b, c, value, d]) => `${a}${key}${b}:${c}${value}${d}`).join(',')}}`),
  ),
}));
const arrayText = fc.array(fc.tuple(space, valueText, space), { minLength: 1, maxLength: 8 }).map((items) => ({
  values: items.map(([, value]) => value),
  text: `[${items.map((part) => part.join('')).join(',')}]`,
}));

describe('items of a request', () => {
  test('are the source text of each element, byte for byte, for any JSON array', () => {
    fc.assert(
      fc.property(space, arrayText, space, (before, { values, text }, after) => {
        const items = arrayItems(bytesOf(before + text + after));
        assert.deepEqual(textsOf(items), values);
        // Lengths, not values: V8 may read an escaped key as one that it parsed before (nodejs/node#63785).
        // Items are handed on as bytes, so this reaches none of them.
        assert.equal(JSON.parse(text).length, items.length);
        for (const item of items) parseRequestJson(item, 'item');
      }),
      { numRuns: 2_000 },
    );
  });

  test('are found in any object, whatever stands around them', () => {
    const other = fc.tuple(stringText, valueText).filter(([key]) => JSON.parse(key) !== 'items');
    const key = fc.constantFrom('"items"', '"\\u0069tems"', '"\\u0069\\u0074\\u0065\\u006d\\u0073"');
    fc.assert(
      fc.property(
        fc.array(other, { maxLength: 3 }),
        key,
        arrayText,
        fc.array(other, { maxLength: 3 }),
        space,
        (before, name, array, after, gap) => {
          const members = [...before, [name, array.text], ...after].map(
            ([k, v]) => `${gap}${k}${gap}:${gap}${v}${gap}`,
          );
          const text = `${gap}{${members.join(',')}}${gap}`;
          assert.deepEqual(member(text), array.values);
          assert.equal(JSON.parse(text).items.length, array.values.length);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('of a repeated key are those of the last, as JSON.parse has it', () => {
    const text = '{"items":[1],"x":{"items":[9]},"items":[2,3]}';
    assert.deepEqual(member(text), ['2', '3']);
    assert.deepEqual(JSON.parse(text).items, [2, 3]);
    assert.deepEqual(member('{"items":"no","\\u0069tems":[ 4 ]}'), ['4']);
  });

  test('keep numbers that no double holds, escapes and emoji as they were written', () => {
    const values = [
      '12345678901234567890.12345678901234567890',
      '"\\u00e9 \\ud83d\\ude00 \\/"',
      '"😀"',
      '{ "a" : [ 1 , 2 ] }',
      '-0',
    ];
    assert.deepEqual(member(`{"items":[ ${values.join(' ,\n')} ]}`), values);
  });

  test('may be one byte or 32 KiB', () => {
    const large = JSON.stringify('x'.repeat(32_766));
    assert.equal(large.length, 32_768);
    assert.deepEqual(member(`{"items":[1,${large}]}`), ['1', large]);
  });
});

describe('a body', () => {
  test('that is not UTF-8 is refused with what is wrong where', () => {
    for (const [bytes, flaw] of [
      [[0x22, 0xff, 0x22], 'byte 1 is wrong'],
      [[0x22, 0xc3, 0x22], 'byte 2 is wrong'],
      [[0x22, 0x41, 0xed, 0xa0, 0x80, 0x22], 'byte 3 is wrong'],
      [[0x22, 0x41, 0xe2, 0x82], 'it ends in the middle of a character'],
    ] as const)
      assert.throws(() => parseRequestJson(Uint8Array.from(bytes), 'The body'), {
        code: 'malformed_body',
        message: `The body is not valid UTF-8: ${flaw}.`,
      });
  });

  test('that is not UTF-8 in an item names the item', () => {
    const itemsOf = (bytes: Uint8Array) => memberItems(bytes, 'items');
    for (const [text, pointer] of [
      ['{"to":{},"items":["ok","a?"]}', '#/items/1'],
      ['{"items":[{"b":["?"]}],"id":"x"}', '#/items/0'],
      ['{"items":[1,2,?]', '#/items/2'],
      ['{"items":["ok"],"id":"?"}', undefined],
      ['{"itmes":["?"]}', undefined],
      ['{"\\x":"?"}', undefined],
    ] as const) {
      const bytes = bytesOf(text);
      bytes[text.indexOf('?')] = 0xff;
      assert.throws(
        () => parseRequestJson(bytes, 'The body', itemsOf),
        (error) => {
          assert.ok(error instanceof Problem && error.code === 'malformed_body');
          assert.deepEqual(error.errors, pointer && [{ pointer, detail: 'is not valid UTF-8' }]);
          assert.match(
            error.message,
            pointer ? /^The body is not valid UTF-8: byte \d+ is wrong, in items\[\d\]\.$/ : /wrong\.$/,
          );
          return true;
        },
      );
    }
  });

  test('that is not JSON, or begins with a byte order mark, is refused', () => {
    for (const text of ['', '{', '[1,]', '\ufeff{}', "{'a':1}", '{"a":NaN}'])
      assert.throws(() => parseRequestJson(bytesOf(text), 'The body'), { code: 'malformed_body' });
  });

  test('of random bytes is either parsed or refused by a Problem', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 64 }),
          fc.string({ unit: fc.constantFrom(...'{}[]",:\\ \u00e9018eitms') }).map(bytesOf),
        ),
        (bytes) => {
          try {
            const value = parseRequestJson(bytes, 'The body', (flawed) => memberItems(flawed, 'items'));
            if (typeof value === 'object' && value !== null && 'items' in value && Array.isArray(value.items))
              assert.equal(memberItems(bytes, 'items').length, value.items.length);
          } catch (error) {
            assert.ok(error instanceof Problem, String(error));
          }
        },
      ),
      { numRuns: 3_000 },
    );
  });
});
