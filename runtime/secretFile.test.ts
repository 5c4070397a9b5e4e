import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';
import { isText, SecretFile, secretLines } from './secretFile.ts';

const BLANK = {
  empty: '',
  'a line end': '\r\n',
  'blank lines': '\n\n\n',
  spaces: '  \t \n ',
  'a byte order mark': '\uFEFF\r\n',
  'what a crash left': '\0'.repeat(64),
};

describe('a secret in a file', () => {
  let folder: string;
  let path: string;
  let secret: SecretFile<string> | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'secret-'));
    path = join(folder, 'key');
  });
  afterEach(() => {
    secret?.close();
    rmSync(folder, { recursive: true });
  });

  function open(content: string | Buffer): SecretFile<string> {
    writeFileSync(path, content);
    secret = SecretFile.open(path, textOf, { pollInterval: 5 });
    return secret;
  }

  /** A secret that doesn't hold "bad". */
  function textOf(bytes: Buffer): string {
    const text = bytes.toString('utf8').trim();
    if (text.includes('bad')) throw new Error('is bad');
    return text;
  }

  test('is rotated live, and the listener is told once', async () => {
    const opened = open('old\n');
    const values: string[] = [];
    const stop = opened.onChange(() => values.push(opened.value));
    writeFileSync(path, 'new\n');
    await until('the new secret is in use', () => opened.value === 'new');
    writeFileSync(path, 'new');
    writeFileSync(path, 'newer');
    await until('the newer secret is in use', () => opened.value === 'newer');
    assert.deepEqual(values, ['new', 'newer']);
    stop();
    writeFileSync(path, 'newest');
    await until('the newest secret is in use', () => opened.value === 'newest');
    assert.equal(values.length, 2);
  });

  test('that vanishes or is emptied stays in use, and that is told', async () => {
    const opened = open('old');
    const problems: string[] = [];
    opened.onProblem((problem) => problems.push(problem));
    rmSync(path);
    await until('the loss is told', () => problems.length === 1);
    writeFileSync(path, '\n');
    await until('the emptiness is told', () => problems.length === 2);
    assert.deepEqual(problems, [
      `${path} does not exist: the last value stays in use`,
      `${path} is empty: it should hold a secret: the last value stays in use`,
    ]);
    assert.equal(opened.value, 'old');
    writeFileSync(path, 'new');
    await until('the new secret is in use', () => opened.value === 'new');
  });

  for (const [what, content] of Object.entries(BLANK))
    test(`that becomes ${what} stays in use, and that is told`, async () => {
      const opened = open('old');
      const problems: string[] = [];
      opened.onProblem((problem) => problems.push(problem));
      writeFileSync(path, content);
      await until('it is told', () => problems.length === 1);
      assert.deepEqual(problems, [`${path} is empty: it should hold a secret: the last value stays in use`]);
      assert.equal(opened.value, 'old');
      writeFileSync(path, 'new');
      await until('the new secret is in use', () => opened.value === 'new');
    });

  test('that its reader refuses, is too large or a folder stays in use too', async () => {
    const opened = open('old');
    const problems: string[] = [];
    opened.onProblem((problem) => problems.push(problem));
    writeFileSync(path, 'bad');
    await until('it is told', () => problems.length === 1);
    writeFileSync(path, Buffer.alloc(5 * 1024 * 1024, 'x'));
    await until('it is told', () => problems.length === 2);
    rmSync(path);
    await until('it is told', () => problems.length >= 2);
    mkdirSync(path);
    assert.match(problems[0]!, /is bad: the last value stays in use$/);
    assert.match(problems[1]!, /is larger than 4194304 bytes: the last value stays in use$/);
    assert.equal(opened.value, 'old');
    rmSync(path, { recursive: true });
    writeFileSync(path, 'new');
    await until('the new secret is in use', () => opened.value === 'new');
  });

  test('that is missing, blank, refused or no file at the start is no start: an empty key would be no key', () => {
    assert.throws(() => SecretFile.open(path, textOf), { message: `${path} does not exist` });
    for (const content of Object.values(BLANK))
      assert.throws(() => open(content), { message: `${path} is empty: it should hold a secret` });
    assert.throws(() => open('bad'), { message: `${path} is bad` });
    assert.throws(() => SecretFile.open(folder, textOf), { message: `${folder} is a folder, not a file` });
  });
});

describe('the lines of a secret', () => {
  test('are what stands on them, whatever editor wrote them', () => {
    const lines = (text: string) => secretLines(Buffer.from(text));
    assert.deepEqual(lines('one'), ['one']);
    assert.deepEqual(lines('\uFEFFone\r\n\r\n  two\t\r\n'), ['one', 'two']);
    assert.deepEqual(lines('schlüssel\n\n\n'), ['schlüssel']);
    assert.equal(lines('x\n'.repeat(1_000)).length, 1_000);
    assert.throws(() => lines('x\n'.repeat(1_001)), /^Error: holds 1001 lines; at most 1000 are allowed$/);
  });

  test('are text: UTF-16 and bytes are refused', () => {
    for (const bytes of [Buffer.from('\uFEFFkey', 'utf16le'), Buffer.from([0xff]), Buffer.from('a\0b')]) {
      assert.equal(isText(bytes), false);
      assert.throws(() => secretLines(bytes), /^Error: is not UTF-8 text: save it as UTF-8$/);
    }
  });
});
