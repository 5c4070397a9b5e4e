import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance } from './settingsProblems.ts';

test('the distance counts slips of typing: a letter more, less, other, or two swapped', () => {
  assert.equal(editDistance('batching', 'batching'), 0);
  assert.equal(editDistance('batchng', 'batching'), 1);
  assert.equal(editDistance('batchhing', 'batching'), 1);
  assert.equal(editDistance('botching', 'batching'), 1);
  assert.equal(editDistance('bacthing', 'batching'), 1);
  assert.equal(editDistance('', 'abc'), 3);
});

test('the distance is the same both ways, and zero only for the same word', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      assert.equal(distance, editDistance(b, a));
      assert.equal(distance === 0, a === b);
      assert.ok(distance <= Math.max(a.length, b.length));
      assert.ok(distance >= Math.abs(a.length - b.length));
    }),
  );
});
