import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProblemDocument } from '@pushcluster/protocol/api.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { Problem, problemOf, retryAfter } from './problems.ts';

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

test('a bus that is away and one that did not confirm are told apart, both to be tried again', () => {
  for (const [error, code] of [
    [new BusUnavailable('x'), 'bus_unavailable'],
    [new BusUnconfirmed('x'), 'bus_unconfirmed'],
  ] as const) {
    const problem = problemOf(error, 1_024);
    assert.deepEqual([problem.code, problem.status], [code, 503]);
    assert.match(problem.headers['retry-after'] ?? '', /^[123]$/);
  }
});

test('an error that nobody expected tells the caller nothing of it', () => {
  const problem = problemOf(new Error('secret path /etc/x'), 1_024);
  assert.equal(problem.status, 500);
  assert.doesNotMatch(problem.toJson(), /secret/);
});

test('Retry-After is whole seconds, at least one, and jittered', () => {
  assert.deepEqual(
    retryAfter(0.2, () => 0),
    { 'retry-after': '1' },
  );
  assert.deepEqual(
    retryAfter(1.2, () => 0.99),
    { 'retry-after': '4' },
  );
});
