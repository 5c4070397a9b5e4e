import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Outcome, runTestFile } from './testFile.ts';

describe('running a file of tests', () => {
  let folder: string;
  let output: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'testfile-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function run(source: string, timeoutSeconds = 60): Promise<Outcome & { note: string; failures: string[] }> {
    const path = join(folder, 'some.test.ts');
    writeFileSync(path, `import { test, describe } from 'node:test'; import assert from 'node:assert';\n${source}`);
    output = '';
    return await runTestFile(path, timeoutSeconds, (text) => {
      output += text;
    });
  }

  /** Runs a file that never ends, with the shortest timeout in which this machine prints what matches `says`. */
  async function runHanging(
    source: string,
    says: RegExp,
  ): Promise<{ outcome: Outcome & { note: string }; seconds: number }> {
    for (let seconds = 1; ; seconds *= 3) {
      const outcome = await run(source, seconds);
      if (says.test(output) || seconds > 20) return { outcome, seconds };
    }
  }

  test('counts what passed, failed and was skipped, and says why', async () => {
    const outcome = await run(`
      test('passes', () => {});
      describe('a suite', () => { test('is wrong', () => assert.equal('one', 'two')); test('is right', () => {}); });
      test('is left out', { skip: 'no such thing here' }, () => {});
      test('prints', () => process.stdout.write('12 of 12 received'));`);
    const { failures, ...counts } = outcome;
    assert.deepEqual(counts, { passed: 3, failed: 1, skipped: 1, note: '' });
    assert.equal(failures.length, 1);
    assert.match(failures[0]!, /^is wrong \(.*some\.test\.ts:\d+\): AssertionError.*'one' == 'two'$/);
    assert.match(output, /✖ is wrong \(.*some\.test\.ts:\d+\)/);
    assert.match(output, /'one'/);
    assert.match(output, /skipped: is left out no such thing here/);
    assert.match(output, /12 of 12 received/);
  });

  test('an error outside every test is a failure', async () => {
    const outcome = await run("test('passes', () => {}); process.nextTick(() => { throw new Error('boom'); });");
    assert.deepEqual([outcome.passed, outcome.failed], [1, 1]);
    assert.match(outcome.note, /broke outside its tests/);
    assert.match(output, /boom/);
  });

  test('a file that can not be read as code is a failure', async () => {
    const outcome = await run("import './none.ts';");
    assert.deepEqual([outcome.passed, outcome.failed], [0, 1]);
    assert.match(output, /Cannot find module .*none\.ts/);
  });

  test('a process that ends in the middle of its tests is a failure, whatever its code', async () => {
    const outcome = await run("test('ends', () => process.exit(0)); test('never runs', () => {});");
    assert.deepEqual([outcome.passed, outcome.failed], [0, 1]);
    assert.match(outcome.note, /ended with 0 in the middle/);
  });

  test('a process that a test leaves behind does not hold up the run', async () => {
    const outcome = await run(`
      import { spawn } from 'node:child_process';
      test('leaves one', () => spawn('sleep', ['20'], { stdio: 'inherit', detached: true }).unref());`);
    assert.deepEqual([outcome.passed, outcome.failed], [1, 0]);
  });

  test('a test that hangs is named', async () => {
    const source = "test('waits for ever', () => new Promise(() => setInterval(() => {}, 1_000)));";
    const { outcome, seconds } = await runHanging(source, /still running: waits for ever/);
    assert.deepEqual([outcome.passed, outcome.failed], [0, 1]);
    assert.ok(outcome.note.includes(`had not ended after ${seconds} s`), outcome.note);
    assert.match(output, /still running: waits for ever/);
  });

  test('a test that leaves something open is a failure', async () => {
    const source = "test('leaks', () => { setInterval(() => {}, 1_000); });";
    const { outcome } = await runHanging(source, /something stays open/);
    assert.equal(outcome.failed, 1);
    assert.match(output, /something stays open/);
  });
});
