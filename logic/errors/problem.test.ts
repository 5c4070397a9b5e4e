import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProblemDocument } from '@pushcluster/protocol/api.ts';
import { Problem, retryAfterHeader } from './problem.ts';

test('a problem is a document as RFC 9457 has it', () => {
  const problem = new Problem('item_too_large', 'items[17] is large.', {
    errors: [{ pointer: '#/items/17', detail: 'is large' }],
  });
  assert.deepEqual(ProblemDocument.parse(JSON.parse(problem.toJson())), {
    type: '/docs#item_too_large',
    title: 'An item is too large',
    status: 413,
    code: 'item_too_large',
    detail: 'items[17] is large.',
    errors: [{ pointer: '#/items/17', detail: 'is large' }],
  });
});

test('Retry-After is whole seconds, at least one, and jittered', () => {
  assert.deepEqual(
    retryAfterHeader(0.2, () => 0),
    { 'retry-after': '1' },
  );
  assert.deepEqual(
    retryAfterHeader(1.2, () => 0.99),
    { 'retry-after': '4' },
  );
});
