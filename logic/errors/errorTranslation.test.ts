import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { HistoryRefused } from '@pushcluster/runtime/history/historyStore.ts';
import { translateError } from './errorTranslation.ts';

test('a bus that is unavailable and one that did not confirm are told apart, and both ask for a retry', () => {
  for (const [error, code] of [
    [new BusUnavailable('x'), 'bus_unavailable'],
    [new BusUnconfirmed('x'), 'bus_unconfirmed'],
  ] as const) {
    const problem = translateError(error, 1_024);
    assert.deepEqual([problem.code, problem.status], [code, 503]);
    assert.match(problem.headers['retry-after'] ?? '', /^[123]$/);
  }
});

test('where the store refuses the history of a room, its words are told', () => {
  const error = new BusUnavailable('no space', { cause: new HistoryRefused('no space') });
  const problem = translateError(error, 1_024);
  assert.equal(problem.code, 'bus_unavailable');
  assert.match(problem.toJson(), /refuses: no space; nothing was sent/);
});

test('an unexpected error tells the caller nothing of its cause', () => {
  const problem = translateError(new Error('secret path /etc/x'), 1_024);
  assert.equal(problem.status, 500);
  assert.doesNotMatch(problem.toJson(), /secret/);
});
