import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { logSettingsWarnings } from './logSettingsWarnings.ts';
import { SettingsFile } from './settingsFile.ts';

test('warnings about settings are logged at the start, and again when they change', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-warnings-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'settings.json');
  const write = (generation: number, connections: object) =>
    writeFileSync(path, JSON.stringify({ generation, gateway: { connections } }));
  write(1, { onePerUser: true });
  const settings = SettingsFile.open(path, { pollInterval: 10 });
  t.after(() => settings.close());
  const { log, lines } = logLines();
  const told = () => lines.map((line) => JSON.stringify(line.warnings));
  logSettingsWarnings(settings, log);
  assert.equal(told().length, 1);
  assert.match(told()[0]!, /onePerUser/);
  const change = async (generation: number, connections: object) => {
    write(generation, connections);
    await until('it is in force', () => settings.generation === generation);
  };
  await change(2, { onePerUser: true, max: 10 });
  assert.equal(told().length, 1, 'the same is not logged twice');
  await change(3, { onePerUser: true, max: 10, perIp: 20 });
  assert.match(told()[1]!, /onePerUser.*perIp/);
  await change(4, {});
  assert.equal(told().length, 2);
});
