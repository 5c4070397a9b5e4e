import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { readCommandLine } from './cli.ts';
import { parseSettings } from './parseSettings.ts';

describe('the command line', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'cli-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs a process that parses its arguments, with the host overridden, and says what it would run with. */
  function run(...args: string[]): { code: number | null; out: string; err: string } {
    const source = `
      import { parseCommandLine } from '${import.meta.dirname}/cli.ts';
      const override = (settings) => ({ ...settings, gateway: { ...settings.gateway, host: '127.0.0.1' } });
      const line = parseCommandLine(process.argv.slice(1), 'gateway', { override, environment: { PORT: 'WebSocket port' } });
      console.log('runs with ' + line.config);`;
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', source, '--', ...args],
      {
        encoding: 'utf8',
      },
    );
    return { code: status, out: stdout, err: stderr };
  }

  test('is read without acting on it', () => {
    assert.deepEqual(readCommandLine([]), { type: 'run', config: undefined });
    assert.deepEqual(readCommandLine(['--config', 'a.yaml']), { type: 'run', config: 'a.yaml' });
    assert.deepEqual(readCommandLine(['--config=a.yaml', '--print-config']), {
      type: 'print-config',
      config: 'a.yaml',
    });
    assert.deepEqual(readCommandLine(['-h']), { type: 'help' });
    assert.deepEqual(readCommandLine(['--config=']), { type: 'wrong', problem: '--config needs a file' });
    assert.deepEqual(readCommandLine(['--confg', 'a']), { type: 'wrong', problem: 'unknown option --confg' });
    assert.deepEqual(readCommandLine(['a.yaml']), { type: 'wrong', problem: '"a.yaml" is not an option' });
    for (const argv of [['--config'], ['--help=1'], ['--config', '--help'], ['-x'], ['--']])
      assert.ok(['wrong', 'run'].includes(readCommandLine(argv).type), argv.join(' '));
  });

  test('the process runs with what it says', () => {
    assert.deepEqual(run('--config', 'a.yaml'), { code: 0, out: 'runs with a.yaml\n', err: '' });
  });

  test('--print-config prints all settings as they would count, in a form that reads back', () => {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, 'gateway: {batching: {maxDelay: 2s}}');
    const { code, out, err } = run('--config', path, '--print-config');
    assert.deepEqual([code, err], [0, '']);
    const printed = parseSettings(out, 'printed');
    assert.equal(printed.gateway.batching.maxDelay, 2_000);
    assert.equal(printed.gateway.host, '127.0.0.1');
    assert.deepEqual(parse(out), printed);
  });

  test('--print-config of wrong settings names them and ends with 2', () => {
    const path = join(folder, 'wrong.yaml');
    writeFileSync(path, 'gateway: {batchng: 1}');
    const { code, out, err } = run('--config', path, '--print-config');
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /gateway\.batchng: unknown key, did you mean "batching"\?/);
  });

  test('--help says what there is and ends with 0', () => {
    const { code, out } = run('--help');
    assert.equal(code, 0);
    assert.match(out, /^usage: gateway \[--config FILE\]/);
    assert.match(out, /PORT {13}WebSocket port/);
  });

  test('what is wrong ends with 2 and a sentence', () => {
    assert.deepEqual(run('--prot', '5'), {
      code: 2,
      out: '',
      err: 'gateway: unknown option --prot; see --help\n',
    });
  });
});
