import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { SettingsFile } from './settings.ts';
import { tellDoubts } from './tellDoubts.ts';

test('doubtful settings are logged at the start, and again when other ones come', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-doubts-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'settings.json');
  const write = (generation: number, connections: object) =>
    writeFileSync(path, JSON.stringify({ generation, gateway: { connections } }));
  write(1, { onePerUser: true });
  const settings = SettingsFile.open(path, { pollInterval: 10 });
  t.after(() => settings.close());
  const { log, lines } = logLines();
  const told = () => lines.map((line) => JSON.stringify(line.doubts));
  tellDoubts(settings, log);
  assert.equal(told().length, 1);
  assert.match(told()[0]!, /onePerUser/);
  const change = async (generation: number, connections: object) => {
    write(generation, connections);
    await until('it counts', () => settings.generation === generation);
  };
  await change(2, { onePerUser: true, max: 10 });
  assert.equal(told().length, 1, 'the same is not told twice');
  await change(3, { onePerUser: true, max: 10, perIp: 20 });
  assert.match(told()[1]!, /onePerUser.*perIp/);
  await change(4, {});
  assert.equal(told().length, 2);
});
