import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';
import { SecretFile } from './secretFile.ts';

describe('a secret in a file', () => {
  let folder: string;
  let path: string;
  let secret: SecretFile | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'secret-'));
    path = join(folder, 'key');
  });
  afterEach(() => {
    secret?.close();
    rmSync(folder, { recursive: true });
  });

  function open(content: string | Buffer): SecretFile {
    writeFileSync(path, content);
    secret = SecretFile.open(path, { pollInterval: 5 });
    return secret;
  }

  test('has no newline at its end, of whichever kind, but keeps all else', () => {
    assert.equal(open('key').text, 'key');
    assert.equal(open('key\n').text, 'key');
    assert.equal(open('key\r\n').text, 'key');
    assert.equal(open(' one \ntwo\n\n').text, ' one \ntwo\n');
    assert.deepEqual(Buffer.from(open(Buffer.from([0xff, 0x00, 0x0a])).bytes), Buffer.from([0xff, 0x00]));
  });

  test('is rotated live, and the listener is told once', async () => {
    const opened = open('old\n');
    const values: string[] = [];
    const stop = opened.onChange(() => values.push(opened.text));
    writeFileSync(path, 'new\n');
    await until('the new secret is in use', () => opened.text === 'new');
    writeFileSync(path, 'new');
    writeFileSync(path, 'newer');
    await until('the newer secret is in use', () => opened.text === 'newer');
    assert.deepEqual(values, ['new', 'newer']);
    stop();
    writeFileSync(path, 'newest');
    await until('the newest secret is in use', () => opened.text === 'newest');
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
      `${path} is empty: the last value stays in use`,
    ]);
    assert.equal(opened.text, 'old');
    writeFileSync(path, 'new');
    await until('the new secret is in use', () => opened.text === 'new');
  });

  test('that is missing or empty at the start is refused: an empty key would be no key', () => {
    assert.throws(() => SecretFile.open(path), { message: `${path} does not exist` });
    assert.throws(() => open(''), { message: `${path} is empty: it should hold a secret` });
    assert.throws(() => open('\r\n'), { message: `${path} is empty: it should hold a secret` });
  });
});
