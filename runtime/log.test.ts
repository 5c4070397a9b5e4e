import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { FakeClock } from './fakeClock.ts';
import { createLog } from './log.ts';

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

test('texts are cut wherever they stand, and what was cut is still JSON', () => {
  const lines: string[] = [];
  const log = createLog('gateway', 'debug', { to: { write: (line) => lines.push(line) } });
  const long = '\u0001"é😀'.repeat(100_000);
  const circle: Record<string, unknown> = { a: 1 };
  circle.circle = circle;
  log.info({ origin: long, list: Array.from({ length: 10_000 }, () => long), deep: { er: { still: long } } }, long);
  log.error({ err: Object.assign(new Error(long), { issues: [long, { [long]: long }] }) }, 'failed');
  log.warn({ circle, many: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, i])) }, 'odd');
  log.info(long);
  log.error(new Error(long));
  assert.equal(lines.length, 5);
  for (const line of lines) {
    assert.ok(line.length < 200_000, `${line.length} characters`);
    JSON.parse(line);
  }
  assert.ok(lines[3]!.length < 3_000);
});

test('a log with a rate limit writes a storm of any event as a few lines, by message and code, at every level', () => {
  const lines: { msg: string; code?: string | number; suppressed?: number; of?: string; n?: number }[] = [];
  const clock = new FakeClock();
  const log = createLog('gateway', 'debug', {
    rateLimited: true,
    clock,
    to: { write: (line) => lines.push(JSON.parse(line)) },
  });
  for (let n = 0; n < 1_000; n++) {
    log.debug({ n, code: 'bad' }, 'frame refused');
    log.info({ n, code: 1008 }, 'closing');
    log.warn({ n, code: 4401 }, 'closing');
    log.error('alone');
  }
  assert.equal(lines.length, 4 * 20);
  clock.advance(5_000);
  assert.deepEqual(
    lines.slice(80).map(({ msg, of, code, suppressed }) => [msg, of, code, suppressed]),
    [
      ['log lines suppressed', 'frame refused', 'bad', 980],
      ['log lines suppressed', 'closing', '1008', 980],
      ['log lines suppressed', 'closing', '4401', 980],
      ['log lines suppressed', 'alone', undefined, 980],
    ],
  );
});

test('what the level hides does not count as suppressed', () => {
  const lines: string[] = [];
  const log = createLog('gateway', 'info', { rateLimited: true, to: { write: (line) => lines.push(line) } });
  for (let n = 0; n < 100; n++) log.debug('hidden');
  log.level = 'debug';
  log.debug('hidden');
  assert.equal(lines.length, 1);
  assert.doesNotMatch(lines[0]!, /suppressed/);
});
