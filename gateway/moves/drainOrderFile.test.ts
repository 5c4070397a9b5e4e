import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { WatchedFile } from '@pushcluster/runtime/watchedFile.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { pino } from 'pino';
import { followDrainOrderFile } from './drainOrderFile.ts';

const TIME = '2026-01-31T12:00:00Z';

describe('the order to drain in a file', () => {
  let folder: string;
  let path: string;
  let file: WatchedFile | undefined;
  let orders: (number | undefined)[];
  let logged: string[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pushcluster-drain-'));
    path = join(folder, 'drain');
    orders = [];
    logged = [];
  });
  afterEach(() => {
    file?.close();
    rmSync(folder, { recursive: true });
  });

  function follow() {
    const log = pino({}, { write: (line: string) => logged.push(line) });
    file = followDrainOrderFile(path, log, (since) => orders.push(since), 5);
  }

  it('is a time; emptied or removed it is taken back', async () => {
    writeFileSync(path, '');
    follow();
    assert.deepEqual(orders, []);
    writeFileSync(path, `${TIME}\n`);
    await until('it is ordered', () => orders.length === 1);
    writeFileSync(path, '');
    await until('it is taken back', () => orders.length === 2);
    writeFileSync(path, '2026-01-31T14:00:00.5+02:00');
    await until('it is ordered again', () => orders.length === 3);
    rmSync(path);
    await until('it is taken back', () => orders.length === 4);
    assert.deepEqual(orders, [Date.parse(TIME), undefined, Date.parse(TIME) + 500, undefined]);
  });

  it('stays where the file is there and cannot be read', async () => {
    writeFileSync(path, TIME);
    follow();
    // At once: between a removal and what comes next the file would be missing.
    mkdirSync(join(folder, 'directory'));
    symlinkSync('directory', join(folder, 'link'));
    renameSync(join(folder, 'link'), path);
    await until('that is told', () => logged.some((line) => line.includes('could not be read')));
    rmSync(path);
    await until('it is taken back', () => orders.length === 2);
    assert.deepEqual(orders, [Date.parse(TIME), undefined]);
  });

  it('counts when it is there at the start, and when it comes later', async () => {
    follow();
    writeFileSync(path, TIME);
    await until('it is ordered', () => orders.length === 1);
    file?.close();
    follow();
    assert.deepEqual(orders, [Date.parse(TIME), Date.parse(TIME)]);
  });

  it('comes by the symlink swap of a Kubernetes volume', async () => {
    for (const [version, text] of [
      ['1', ''],
      ['2', TIME],
    ] as const) {
      mkdirSync(join(folder, `..${version}`));
      writeFileSync(join(folder, `..${version}`, 'drain'), text);
    }
    symlinkSync('..1', join(folder, '..data'));
    symlinkSync('..data/drain', path);
    follow();
    symlinkSync('..2', join(folder, '..tmp'));
    renameSync(join(folder, '..tmp'), join(folder, '..data'));
    await until('it is ordered', () => orders.length === 1);
    assert.deepEqual(orders, [Date.parse(TIME)]);
  });

  it('that is no time is not followed, and told', async () => {
    writeFileSync(path, TIME);
    follow();
    writeFileSync(path, 'now');
    await until('it is taken back', () => orders.length === 2);
    assert.deepEqual(orders, [Date.parse(TIME), undefined]);
    assert.match(logged.join(''), /it is not a time such as/);
  });
});
