import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';

type Started = { child: ChildProcessByStdio<null, Readable, null>; output: () => string; ended: Promise<string> };

/** A process that leaves as `leave` says (the body of an async function) and is up when it has said so. */
async function start(leave: string, deadline = 60_000, echo = 0): Promise<Started> {
  const source = `
    import { createLog } from '${import.meta.dirname}/log.ts';
    import { onShutdown } from '${import.meta.dirname}/shutdown.ts';
    setInterval(() => {}, 1_000);
    onShutdown(createLog('test', 'info'), async (signal) => { ${leave} }, { deadline: () => ${deadline}, echo: ${echo} });
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
    assert.match(output(), /"msg":"shut down"/);
  });

test('what is not done by the deadline is left undone, with a warning and 0', async () => {
  const { child, output, ended } = await start('await new Promise(() => {});', 50);
  child.kill('SIGTERM');
  assert.equal(await ended, '0');
  assert.match(output(), /"level":"warn".*shutdown is not complete at the deadline/);
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

test('the echo of a signal changes nothing; another signal, or the same one later, ends at once', async () => {
  const leave =
    "process.on('SIGUSR2', () => console.log('seen')); console.log('leaving once'); await new Promise(() => {});";
  const long = await start(leave, 60_000, 60_000);
  long.child.kill('SIGTERM');
  await until('it leaves', () => long.output().includes('leaving once'));
  long.child.kill('SIGTERM');
  // Signals of different numbers may overtake each other, but who has seen the second of these has seen the SIGTERM as well.
  for (const times of [1, 2]) {
    long.child.kill('SIGUSR2');
    await until('it lives', () => long.output().split('seen').length > times);
  }
  long.child.kill('SIGINT');
  assert.equal(await long.ended, '130');

  const short = await start(leave, 60_000, 1);
  short.child.kill('SIGTERM');
  await until('it leaves', () => short.output().includes('leaving once'));
  await until('the echo would have come', () => short.child.exitCode !== null || !short.child.kill('SIGTERM'));
  assert.equal(await short.ended, '143');
});

test('a leave that fails is logged, and the process ends with 1', async () => {
  const { child, output, ended } = await start("throw new Error('the bus is stuck');");
  child.kill('SIGTERM');
  assert.equal(await ended, '1');
  assert.match(output(), /"level":"error".*the bus is stuck/);
});
