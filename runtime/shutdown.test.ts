import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';

type Started = { child: ChildProcessByStdio<null, Readable, null>; output: () => string; ended: Promise<string> };

/** A process that leaves as `leave` says (the body of an async function) and is up when it has said so. */
async function start(leave: string, deadline = 60_000): Promise<Started> {
  const source = `
    import { createLog } from '${import.meta.dirname}/log.ts';
    import { onShutdown } from '${import.meta.dirname}/shutdown.ts';
    setInterval(() => {}, 1_000);
    onShutdown(createLog('test', 'info'), async (signal) => { ${leave} }, { deadline: () => ${deadline} });
    console.log('up');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += String(chunk);
  });
  const ended = new Promise<string>((resolve) => child.on('close', (code, signal) => resolve(String(code ?? signal))));
  await until('the process is up', () => output.includes('up\n'));
  return { child, output: () => output, ended };
}

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  test(`${signal} lets the process leave, and it ends with 0`, async () => {
    const { child, output, ended } = await start(
      "await new Promise((resolve) => setTimeout(resolve, 20)); console.log('gone by ' + signal);",
    );
    child.kill(signal);
    assert.equal(await ended, '0');
    assert.match(output(), new RegExp(`gone by ${signal}`));
    assert.match(output(), /"msg":"left"/);
  });

test('what is not done by the deadline is left undone, with a warning and 0', async () => {
  const { child, output, ended } = await start('await new Promise(() => {});', 50);
  child.kill('SIGTERM');
  assert.equal(await ended, '0');
  assert.match(output(), /"level":"warn".*not done by the deadline/);
});

for (const [signal, code] of [
  ['SIGTERM', '143'],
  ['SIGINT', '130'],
] as const)
  test(`a second signal ends at once: ${code} for ${signal}`, async () => {
    const { child, output, ended } = await start("console.log('leaving once'); await new Promise(() => {});");
    child.kill('SIGTERM');
    await until('it leaves', () => output().includes('leaving once'));
    child.kill(signal);
    assert.equal(await ended, code);
    assert.equal(output().split('leaving once').length, 2);
  });

test('a leave that fails is logged, and the process ends with 1', async () => {
  const { child, output, ended } = await start("throw new Error('the bus is stuck');");
  child.kill('SIGTERM');
  assert.equal(await ended, '1');
  assert.match(output(), /"level":"error".*the bus is stuck/);
});
