import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ALONE, IPV6, KNOWN_FLAKY, longestFirst, NIGHTLY, verdict } from './suites.ts';

const FILE = 'test/integration/some.test.ts';
const PASSED = { passed: 3, failed: 0, skipped: 1 };
const FAILED = { passed: 1, failed: 2, skipped: 1 };
const KNOWN = [{ file: FILE, reason: 'a race in the harness', since: '2026-01-31' }];

describe('the verdict on a file of tests', () => {
  it('is the first run where that passed', () => {
    assert.deepEqual(verdict(FILE, PASSED, undefined, []), { outcome: PASSED, flaky: false });
  });

  it('is red where it failed and was not run again', () => {
    assert.deepEqual(verdict(FILE, FAILED, undefined, KNOWN), { outcome: FAILED, flaky: false });
  });

  it('is red where it failed twice, known or not', () => {
    assert.deepEqual(verdict(FILE, FAILED, FAILED, KNOWN), { outcome: FAILED, flaky: false });
  });

  it('is one failure where it failed and then passed', () => {
    assert.deepEqual(verdict(FILE, FAILED, PASSED, []), { outcome: { ...PASSED, failed: 1 }, flaky: true });
    const other = [{ ...KNOWN[0]!, file: 'test/integration/other.test.ts' }];
    assert.equal(verdict(FILE, FAILED, PASSED, other).outcome.failed, 1);
  });

  it('is green, and named, where it failed and then passed and is known to be flaky', () => {
    assert.deepEqual(verdict(FILE, FAILED, PASSED, KNOWN), { outcome: PASSED, flaky: true, forgiven: KNOWN[0] });
  });
});

describe('the lists of test files', () => {
  it('name files that are there', () => {
    const named = [...ALONE, ...NIGHTLY, ...IPV6, ...KNOWN_FLAKY.map(({ file }) => file)];
    assert.deepEqual(
      named.filter((file) => !existsSync(new URL(`../${file}`, import.meta.url))),
      [],
    );
  });

  it('forgive at most five flaky files, each with a reason and a day', () => {
    assert.ok(KNOWN_FLAKY.length <= 5, `${KNOWN_FLAKY.length} are too many to be exceptions`);
    for (const { file, reason, since } of KNOWN_FLAKY) {
      assert.ok(reason.length > 20, `${file} needs a reason`);
      assert.match(since, /^\d{4}-\d\d-\d\d$/, file);
    }
  });

  it('put long files first, and keep the order among the others', () => {
    assert.deepEqual(
      longestFirst(['a', 'long b', 'c', 'long d'], (file) => file.startsWith('long')),
      ['long b', 'long d', 'a', 'c'],
    );
  });
});
