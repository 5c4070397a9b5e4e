import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ALONE, IPV6, longestFirst, NIGHTLY, verdict } from './suites.ts';

const PASSED = { passed: 3, failed: 0, skipped: 1 };
const FAILED = { passed: 1, failed: 2, skipped: 1 };

describe('the verdict on a file of tests', () => {
  it('is the first run where that passed', () => {
    assert.deepEqual(verdict(PASSED, undefined, 0), { outcome: PASSED, isFlaky: false });
  });

  it('is red where it failed and was not run again', () => {
    assert.deepEqual(verdict(FAILED, undefined, 0), { outcome: FAILED, isFlaky: false });
  });

  it('is red where it failed twice', () => {
    assert.deepEqual(verdict(FAILED, FAILED, 0), { outcome: FAILED, isFlaky: false });
  });

  it('is green, and flaky, where it failed and then passed, for two files', () => {
    for (const before of [0, 1]) assert.deepEqual(verdict(FAILED, PASSED, before), { outcome: PASSED, isFlaky: true });
  });

  it('is one failure where two were flaky before', () => {
    assert.deepEqual(verdict(FAILED, PASSED, 2), { outcome: { ...PASSED, failed: 1 }, isFlaky: true });
  });
});

describe('the lists of test files', () => {
  it('name files that are there', () => {
    const named = [...ALONE, ...NIGHTLY, ...IPV6];
    assert.deepEqual(
      named.filter((file) => !existsSync(new URL(`../${file}`, import.meta.url))),
      [],
    );
  });

  it('put long files first, and keep the order among the others', () => {
    assert.deepEqual(
      longestFirst(['a', 'long b', 'c', 'long d'], (file) => file.startsWith('long')),
      ['long b', 'long d', 'a', 'c'],
    );
  });
});
