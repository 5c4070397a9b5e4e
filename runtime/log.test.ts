import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

function linesOf(statements: string): Record<string, unknown>[] {
  const source = `import { createLog } from '${import.meta.dirname}/log.ts'; const log = createLog('gateway', 'info'); ${statements}`;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' });
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a line is JSON with the process, the level by name and the time as ISO 8601', () => {
  const [line] = linesOf("log.info({ room: 'r' }, 'hello');");
  const { time, pid, ...rest } = line!;
  assert.deepEqual(rest, { level: 'info', name: 'gateway', room: 'r', msg: 'hello' });
  assert.equal(new Date(String(time)).toISOString(), time);
  assert.equal(typeof pid, 'number');
});

test('the level changes while the process runs', () => {
  const lines = linesOf("log.debug('1'); log.level = 'debug'; log.debug('2'); log.level = 'error'; log.warn('3');");
  assert.deepEqual(
    lines.map((line) => line.msg),
    ['2'],
  );
});

test('an error is shown with its message and stack', () => {
  const [line] = linesOf("log.error({ err: new Error('boom') }, 'failed');");
  const err = line!.err as Record<string, unknown>;
  assert.equal(err.message, 'boom');
  assert.match(String(err.stack), /^Error: boom\n/);
});

test('nothing is lost where the process ends at once', () => {
  assert.equal(linesOf("for (let i = 0; i < 500; i++) log.info('x'.repeat(200)); process.exit(0);").length, 500);
});
