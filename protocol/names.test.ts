import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameProblem } from './names.ts';

test('a name is any UTF-8 of 1 to 128 bytes', () => {
  for (const name of ['x', ' ', 'x'.repeat(128), 'é'.repeat(64), '直'.repeat(42), '😀'.repeat(32)])
    assert.equal(nameProblem(name), undefined, name);
  for (const name of ['x'.repeat(129), 'é'.repeat(65), '直'.repeat(43), '😀'.repeat(33), 'x'.repeat(1_000_000)])
    assert.equal(nameProblem(name), 'must be at most 128 bytes of UTF-8');
});

test('what is no name is said to be so', () => {
  assert.equal(nameProblem(''), 'must not be empty');
  assert.equal(nameProblem('\ud800'), 'must be well-formed Unicode');
  for (const value of [undefined, null, 7, {}, ['r']]) assert.equal(nameProblem(value), 'must be a string');
});
