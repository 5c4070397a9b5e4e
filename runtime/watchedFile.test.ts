import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';
import { MAX_FILE_BYTES, WatchedFile } from './watchedFile.ts';

describe('a watched file', () => {
  let folder: string;
  let path: string;
  let file: WatchedFile | undefined;
  let seen: string[];
  let problems: string[];

  function watch(at = path): WatchedFile {
    file = new WatchedFile(at, {
      pollInterval: 5,
      changed: (bytes) => seen.push(bytes.toString()),
      unreadable: (problem) => problems.push(problem),
    });
    return file;
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'watched-'));
    path = join(folder, 'file');
    seen = [];
    problems = [];
  });
  afterEach(() => {
    file?.close();
    rmSync(folder, { recursive: true });
  });

  test('is read at once, and again after it was rewritten in place', async () => {
    writeFileSync(path, 'one');
    assert.equal(watch().bytes.toString(), 'one');
    writeFileSync(path, 'two');
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual(seen, ['two']);
    assert.equal(file?.bytes.toString(), 'two');
  });

  test('is read again after another file was renamed to it, as editors do', async () => {
    writeFileSync(path, 'one');
    watch();
    writeFileSync(`${path}~`, 'two');
    renameSync(`${path}~`, path);
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual(seen, ['two']);
  });

  test('is read again after a symlink swap, as Kubernetes volumes do', async () => {
    for (const version of ['1', '2']) {
      mkdirSync(join(folder, `..${version}`));
      writeFileSync(join(folder, `..${version}`, 'file'), `version ${version}`);
    }
    // Old, and of the same size and times: nothing but the link tells that it is another file.
    for (const version of ['1', '2']) utimesSync(join(folder, `..${version}`, 'file'), 1_000, 1_000);
    symlinkSync('..1', join(folder, '..data'));
    symlinkSync(join('..data', 'file'), path);
    assert.equal(watch().bytes.toString(), 'version 1');
    symlinkSync('..2', join(folder, '..new'));
    renameSync(join(folder, '..new'), join(folder, '..data'));
    rmSync(join(folder, '..1'), { recursive: true });
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual(seen, ['version 2']);
  });

  test('is not taken half written: it must say the same twice', async () => {
    writeFileSync(path, 'one');
    watch();
    // A writer that takes its time: each state stands for less than the settling time.
    let text = '';
    const writer = setInterval(() => {
      text += 'x';
      writeFileSync(path, text);
    }, 20);
    await until('much was written', () => text.length >= 15);
    clearInterval(writer);
    assert.deepEqual(seen, []);
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual(seen, [text]);
  });

  test('that is touched or written with what it held is no change', async () => {
    writeFileSync(path, 'one');
    watch();
    writeFileSync(path, 'one');
    utimesSync(path, 1, 1);
    writeFileSync(path, 'two');
    await until('the true change is seen', () => seen.length > 0);
    assert.deepEqual(seen, ['two']);
  });

  test('that vanishes keeps its content, says so once, and is read when it is back', async () => {
    writeFileSync(path, 'one');
    watch();
    rmSync(path);
    await until('the loss is seen', () => problems.length > 0);
    assert.deepEqual(problems, [`${path} does not exist`]);
    assert.equal(file?.bytes.toString(), 'one');
    writeFileSync(path, 'two');
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual([seen, problems.length], [['two'], 1]);
  });

  test('that becomes a pipe or a folder keeps its content and does not hang', async () => {
    writeFileSync(path, 'one');
    watch();
    rmSync(path);
    execFileSync('mkfifo', [path]);
    await until('it is told', () => problems.length > 0);
    assert.deepEqual(problems, [`${path} is no longer a regular file`]);
    assert.equal(file?.bytes.toString(), 'one');
  });

  test('that is rewritten within the tick of the clock, at the same size, is still a change', async () => {
    writeFileSync(path, 'one');
    const { atime, mtime } = statSync(path);
    watch();
    writeFileSync(path, 'two');
    utimesSync(path, atime, mtime);
    await until('the change is seen', () => seen.length > 0);
    assert.deepEqual(seen, ['two']);
  });

  test('is seen no more after close', async () => {
    writeFileSync(path, 'one');
    watch().close();
    const other = new WatchedFile(path, { pollInterval: 5, changed: () => seen.push('other'), unreadable: () => {} });
    writeFileSync(path, 'two');
    await until('the other watcher has seen it', () => seen.length > 0);
    other.close();
    assert.deepEqual(seen, ['other']);
  });

  test('that can not be read at the start is told by a sentence', () => {
    assert.throws(() => watch(join(folder, 'none')), { message: `${join(folder, 'none')} does not exist` });
    assert.throws(() => watch(folder), { message: `${folder} is a folder, not a file` });
    writeFileSync(path, Buffer.alloc(MAX_FILE_BYTES + 1));
    assert.throws(() => watch(), { message: `${path} is larger than ${MAX_FILE_BYTES} bytes` });
    assert.throws(() => watch('/dev/zero'), /larger than/);
  });

  test('that says nothing of its size is read whole', () => {
    assert.equal(
      watch('/proc/self/status').bytes.toString().split('\n')[0],
      readFileSync('/proc/self/status', 'utf8').split('\n')[0],
    );
    assert.ok(file!.bytes.length > 500);
  });
});
