import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { PUSH, startApi, temporaryFolder } from '../harness/api.ts';
import { Lateness } from '../harness/lateness.ts';
import { until } from '../harness/until.ts';

describe('logic as a process', () => {
  test('counts pushes by target and status, in labels that no caller chooses', async (t) => {
    const api = await startApi(t);
    await api.json('/v1/push', { to: { rooms: ['a', 'b'] }, items: [1, 2] });
    await api.json('/v1/push', { to: { room: 'secret' }, items: [] });
    await api.form('/push/all', 'items=[1]');
    await api.form('/push/all', 'items=');
    const counted = [
      'pushcluster_logic_push_requests_total{target="rooms",code="202"} 1',
      'pushcluster_logic_push_requests_total{target="unknown",code="400"} 1',
      'pushcluster_logic_push_requests_total{target="all",code="200"} 1',
      'pushcluster_logic_push_requests_total{target="all",code="400"} 1',
      'pushcluster_logic_messages_total{target="rooms"} 4',
      'pushcluster_logic_messages_total{target="all"} 1',
      'pushcluster_logic_publish_seconds_count 2',
    ];
    for (const line of counted)
      await until(`there is ${line}`, async () => (await api.metrics()).includes(`${line}\n`)).catch(
        async ({ message }: Error) => assert.fail(`${message}:\n${await api.metrics()}`),
      );
    assert.doesNotMatch(await api.metrics(), /secret/);
    assert.match(await api.metrics(), /target="rooms",code="202"} 1\n/, 'a scrape does not count twice');
  });

  test('leaving: unready at once, finishes what is under way, and waits for nobody else', async (t) => {
    const bus = new LocalBus();
    const receipt = Promise.withResolvers<void>();
    const flush = bus.flush.bind(bus);
    let flushes = 0;
    bus.flush = () => {
      flushes++;
      return receipt.promise.then(flush);
    };
    const api = await startApi(t, { logic: { drain: { settle: '5s', timeout: '60s' } } }, bus);
    const silent = connect(api.port, '127.0.0.1');
    t.after(() => silent.destroy());
    await once(silent, 'connect');
    const underWay = api.json('/v1/push', PUSH);
    await until('the push waits for its receipt', () => flushes === 1);
    assert.deepEqual(api.logic.ready(), []);
    const left = api.logic.leave();
    assert.deepEqual(api.logic.ready(), ['leaving']);
    const settling = await api.request('/docs');
    assert.deepEqual([settling.status, settling.headers.connection], [200, 'close']);
    await until('new connections are refused', async () => {
      try {
        await api.request('/docs');
        return false;
      } catch {
        return true;
      }
    });
    receipt.resolve();
    assert.equal((await underWay).status, 202);
    const answered = performance.now();
    const lateness = Lateness.during(t);
    await left;
    assert.ok(
      performance.now() - answered < 5_000 + lateness.total,
      'it waited for a connection that never said anything',
    );
    bus.flush = flush;
  });

  test('leaving ends by its timeout though a request never ends', async (t) => {
    const bus = new LocalBus();
    bus.flush = () => new Promise(() => {});
    const api = await startApi(t, { logic: { drain: { settle: 0, timeout: '1s' } } }, bus);
    const cut = assert.rejects(api.json('/v1/push', PUSH));
    await until(
      'the push is under way',
      async () => !(await api.metrics()).includes('logic_publish_in_flight_bytes 0\n'),
    );
    const begun = performance.now();
    const lateness = Lateness.during(t);
    await api.logic.leave();
    await cut;
    assert.ok(performance.now() - begun < 5_000 + lateness.total);
    bus.flush = () => Promise.resolve();
  });

  test('a port that is taken is said in a sentence', async (t) => {
    const api = await startApi(t);
    await assert.rejects(startApi(t, { logic: { port: api.port } }), /port \d+ is taken/);
  });

  test('follows the log level', async (t) => {
    const api = await startApi(t);
    api.configure({ log: { level: 'error' } });
    await until('refusals are no longer logged', async () => {
      const before = api.lines.length;
      await api.request('/nope');
      return api.lines.length === before;
    });
  });

  test('starts by its command line, is ready, and ends with 0 on SIGTERM', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(
      join(folder, 'settings.yaml'),
      'logic: { host: 127.0.0.1, port: 0, drain: { settle: 0 } }\nadmin: { host: 127.0.0.1, port: 0 }\n',
    );
    const process_ = startMain(['--config', join(folder, 'settings.yaml')]);
    t.after(() => process_.child.kill('SIGKILL'));
    await until('logic is up', () => process_.output.includes('logic is up'));
    const { port, admin } = JSON.parse(
      process_.output.split('\n').find((line) => line.includes('logic is up')) ?? '{}',
    );
    assert.equal((await fetch(`http://127.0.0.1:${admin}/readyz`)).status, 200);
    const push = await fetch(`http://127.0.0.1:${port}/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(PUSH),
    });
    assert.equal(push.status, 202);
    assert.match(await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text(), /pushcluster_bus_connected 1\n/);
    process_.child.kill('SIGTERM');
    const [code] = await once(process_.child, 'close');
    assert.equal(code, 0, process_.output);
  });

  test('does not start with wrong settings, and says which', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'settings.yaml'), 'logic: { prot: 1 }\n');
    const process_ = startMain(['--config', join(folder, 'settings.yaml')]);
    // Not at `exit`: its last words may still be in the pipe then.
    const [code] = await once(process_.child, 'close');
    assert.equal(code, 1);
    assert.match(process_.output, /^logic: .*prot/m);
  });
});

function startMain(parameters: string[]) {
  const main = new URL(import.meta.resolve('@pushcluster/logic/main.ts')).pathname;
  const child = spawn(process.execPath, [main, ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] });
  const started = { child, output: '' };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      started.output += text;
    });
  return started;
}
