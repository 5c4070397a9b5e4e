import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusals } from './refusals.ts';

test('a storm of refusals leaves ten lines a second, and the next says how many were left out', () => {
  const lines: { leftOut?: number; n?: number }[] = [];
  const add = (fields: object) => lines.push(fields);
  const log = { isLevelEnabled: () => true, info: add, warn: add, error: add };
  let now = 0;
  const refusals = new Refusals(log, () => now);
  for (let n = 0; n < 100; n++) refusals.add('info', { n }, 'refused');
  assert.equal(lines.length, 10);
  now += 100;
  refusals.add('warn', { n: 100 }, 'refused');
  assert.deepEqual([lines.at(-1)?.n, lines.at(-1)?.leftOut], [100, 90]);
  now += 100;
  refusals.add('warn', { n: 101 }, 'refused');
  assert.equal(lines.at(-1)?.leftOut, undefined);
});
