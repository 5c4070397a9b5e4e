import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Problem } from '../errors/problem.ts';
import { checkItems } from './pushLimits.ts';

const bytesOf = (text: string) => Buffer.from(text);

describe('items of a push', () => {
  test('may be one byte or 32 KiB', () => {
    const large = JSON.stringify('x'.repeat(32_766));
    assert.equal(large.length, 32_768);
    checkItems([bytesOf('1'), bytesOf(large)], { items: 1_000, item: 32_768 });
  });

  test('that are too large are named in a 413', () => {
    const items = [bytesOf('1'), bytesOf('"22"'), bytesOf('"333"')];
    assert.throws(
      () => checkItems(items, { items: 3, item: 3 }),
      (error) =>
        error instanceof Problem &&
        error.status === 413 &&
        error.message === 'items[1] has 4 bytes; at most 3 are allowed.' &&
        error.errors?.length === 2,
    );
  });

  test('that are too many or none are refused', () => {
    assert.throws(() => checkItems([], { items: 3, item: 3 }), { code: 'invalid_request' });
    assert.throws(() => checkItems([bytesOf('1'), bytesOf('2')], { items: 1, item: 3 }), { code: 'too_many_items' });
  });
});
