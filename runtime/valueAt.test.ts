import assert from 'node:assert/strict';
import { it } from 'node:test';
import { valueAt } from './valueAt.ts';

it('the value at a path is undefined where nothing is, or where the path goes through what has no keys', () => {
  const value = { a: { b: [1, null] } };
  assert.equal(valueAt(value, []), value);
  assert.equal(valueAt(value, ['a', 'b', 0]), 1);
  for (const path of [['x'], ['a', 'x', 'y'], ['a', 'b', 1, 'c'], ['a', 'b', 0, 'toFixed']])
    assert.equal(valueAt(value, path), undefined);
});
