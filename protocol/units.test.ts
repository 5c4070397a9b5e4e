import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { duration, parseDuration, parseSize, size } from './units.ts';

test('times have a unit', () => {
  assert.equal(parseDuration('250ms'), 250);
  assert.equal(parseDuration('1.5s'), 1_500);
  assert.equal(parseDuration('2m'), 120_000);
  assert.equal(parseDuration('1h'), 3_600_000);
  assert.equal(parseDuration('0s'), 0);
  for (const text of ['', '5', 's', '-1s', '1 s', '1S', '1d', '1e3ms', '1s1s', '１s', ' 1s', '1s\n'])
    assert.equal(parseDuration(text), undefined, JSON.stringify(text));
});

test('sizes have a binary unit or none', () => {
  assert.equal(parseSize('4096'), 4_096);
  assert.equal(parseSize('4096B'), 4_096);
  assert.equal(parseSize('256KiB'), 262_144);
  assert.equal(parseSize('1Mi'), 1_048_576);
  assert.equal(parseSize('1.5GiB'), 1_610_612_736);
  for (const text of ['', 'KiB', '1KB', '1k', '-1', '1 MiB', '1e3', '0x10', '1\n'])
    assert.equal(parseSize(text), undefined, JSON.stringify(text));
});

test('a setting takes text or a number, and says what it wants', () => {
  const time = duration({ min: 100, max: 10_000 });
  assert.equal(time.parse('2s'), 2_000);
  assert.equal(time.parse(250), 250);
  const problem = (input: unknown): string => time.safeParse(input).error!.issues[0]!.message;
  assert.equal(problem('soon'), 'must be a time such as "500ms", "1s" or "2m"');
  assert.equal(problem(true), 'must be a time such as "500ms", "1s" or "2m"');
  assert.equal(problem(Number.NaN), 'must be a time such as "500ms", "1s" or "2m"');
  assert.equal(problem(null), 'must be a time such as "500ms", "1s" or "2m"');
  assert.equal(problem('99ms'), 'must be at least 100ms');
  assert.equal(problem('1m'), 'must be at most 10000ms');
  assert.equal(problem(-1), 'must be at least 100ms');
});

test('bytes are whole', () => {
  assert.equal(size().parse('1.5KiB'), 1_536);
  assert.equal(size().parse(4_096.4), 4_096);
});

test('no text at all makes them throw or take longer', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{0,40}(ms|s|KiB)?$/)), (text) => {
      for (const value of [parseDuration(text), parseSize(text)]) assert.ok(value === undefined || value >= 0);
    }),
  );
});
