import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createLog } from '@pushcluster/runtime/log.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { ApiKeys } from './apiKeys.ts';

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-keys-'));
after(() => rmSync(folder, { recursive: true }));
const log = createLog('test', 'error');
log.level = 'silent';

function keyFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('both lines of a file are valid keys, others are not', () => {
  const keys = new ApiKeys([{ name: 'backend', file: keyFile('two', 'old-key\r\nnew-key\n\n') }], log);
  assert.equal(keys.required, true);
  assert.equal(keys.identify('Bearer old-key').name, 'backend');
  assert.equal(keys.identify('bearer  new-key').name, 'backend');
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic old-key',
    'Bearer old',
    'Bearer old-key new-key',
    'Bearer old-key\n',
    'old-key',
  ])
    assert.throws(() => keys.identify(header), { code: 'unauthorized' }, String(header));
  keys.close();
});

test('a refusal says how to authenticate', () => {
  const keys = new ApiKeys([{ name: 'backend', file: keyFile('one', 'key\n') }], log);
  assert.throws(() => keys.identify(undefined), { headers: { 'www-authenticate': 'Bearer realm="pushcluster"' } });
  assert.throws(() => keys.identify('Bearer no'), {
    headers: { 'www-authenticate': 'Bearer realm="pushcluster", error="invalid_token"' },
  });
  keys.close();
});

test('a key file that is missing or empty is refused at a start', () => {
  assert.throws(() => new ApiKeys([{ name: 'a', file: join(folder, 'none') }], log));
  assert.throws(() => new ApiKeys([{ name: 'a', file: keyFile('empty', '\n') }], log));
});

test('a key file that becomes blank, unreadable or no list of keys leaves its holders in, and that is told', async () => {
  for (const content of [
    '',
    '\n\n',
    '  \r\n\t\n',
    '\uFEFF',
    '\0\0',
    Buffer.from('\uFEFFkey', 'utf16le'),
    'two words',
    '""',
    '<nil>',
    '# the key of the backend',
    '#key',
    '{"key":"abc"}',
    'key\u200b',
    '---',
  ]) {
    const file = keyFile('becomes', 'first\n');
    const lines: unknown[] = [];
    const told = { ...log, error: (fields: unknown) => lines.push(fields), info: () => {} };
    const keys = new ApiKeys([{ name: 'backend', file }], Object.assign(createLog('test', 'error'), told), 5);
    writeFileSync(file, content);
    await until('it is told', () => lines.length > 0);
    assert.match(JSON.stringify(lines), /"key":"backend","problem":".*the last value stays in use"/);
    assert.equal(keys.identify('Bearer first').name, 'backend');
    writeFileSync(file, '\uFEFFsecond \r\nschlüssel');
    await until('the new key counts', () => {
      try {
        return keys.identify('Bearer second').name === 'backend';
      } catch {
        return false;
      }
    });
    // As the bytes of a header are read.
    assert.equal(keys.identify(`Bearer ${Buffer.from('schlüssel').toString('latin1')}`).name, 'backend');
    assert.throws(() => keys.identify('Bearer first'), { code: 'unauthorized' });
    keys.close();
  }
});

test('a reload that names a missing file lets nobody in by it, and never everybody', () => {
  const keys = new ApiKeys([{ name: 'a', file: keyFile('a', 'key-a') }], log);
  keys.update([
    { name: 'gone', file: join(folder, 'none') },
    { name: 'b', file: keyFile('b', 'key-b') },
  ]);
  assert.throws(() => keys.identify('Bearer key-a'), { code: 'unauthorized' });
  assert.equal(keys.identify('Bearer key-b').name, 'b');
  keys.update([{ name: 'gone', file: join(folder, 'none') }]);
  assert.equal(keys.required, true);
  assert.throws(() => keys.identify('Bearer key-b'), { code: 'unauthorized' });
  keys.update([]);
  assert.equal(keys.required, false);
  keys.close();
});

test('a key whose file arrives after the settings that name it counts then', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const keys = new ApiKeys([], log);
  keys.update([{ name: 'late', file: join(folder, 'late') }]);
  t.mock.timers.tick(2_000);
  assert.throws(() => keys.identify('Bearer key-late'), { code: 'unauthorized' });
  keyFile('late', 'key-late');
  t.mock.timers.tick(2_000);
  assert.equal(keys.identify('Bearer key-late').name, 'late');
  keys.close();
});

test('a key that stays keeps its last value though its file is gone when the settings change', () => {
  const file = keyFile('stays', 'key-stays');
  const keys = new ApiKeys([{ name: 'before', file }], log);
  rmSync(file);
  keys.update([{ name: 'after', file }]);
  assert.equal(keys.identify('Bearer key-stays').name, 'after');
  keys.close();
});
