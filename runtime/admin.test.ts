import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { afterEach, describe, test } from 'node:test';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { Gauge, Registry } from 'prom-client';
import { type Admin, type AdminOptions, startAdmin } from './admin.ts';
import { VERSION } from './version.ts';

describe('the admin server', () => {
  let admin: Admin | undefined;

  async function start(options: Partial<AdminOptions> = {}): Promise<string> {
    admin = await startAdmin({
      host: '127.0.0.1',
      port: 0,
      registry: new Registry(),
      health: () => [],
      ready: () => [],
      ...options,
    });
    return `http://127.0.0.1:${admin.port}`;
  }

  afterEach(async () => {
    await admin?.close();
    admin = undefined;
  });

  test('serves the metrics, brought up to date, with those of the process', async () => {
    const registry = new Registry();
    const connections = new Gauge({ name: 'pushcluster_test', help: 'x', registers: [registry] });
    const url = await start({
      registry,
      collect: async () => {
        connections.inc();
      },
    });
    for (const expected of [1, 2]) {
      const response = await fetch(`${url}/metrics`);
      const body = await response.text();
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-type')!, /^text\/plain; version=0\.0\.4/);
      assert.match(body, new RegExp(`^pushcluster_test ${expected}$`, 'm'));
      assert.match(body, /^process_resident_memory_bytes \d+$/m);
    }
  });

  test('two admin servers may share a registry', async () => {
    const registry = new Registry();
    await start({ registry });
    await admin?.close();
    await start({ registry });
  });

  test('serves the metrics as they are where bringing them up to date fails or hangs', async () => {
    const problems: string[] = [];
    let collect = (): Promise<void> => Promise.reject(new Error('shard 2 does not answer'));
    const url = await start({ collect: () => collect(), onProblem: (error) => problems.push(error.message) });
    assert.equal((await fetch(`${url}/metrics`)).status, 200);
    collect = () => new Promise(() => {});
    assert.equal((await fetch(`${url}/metrics`)).status, 200);
    assert.deepEqual(problems, ['shard 2 does not answer', 'collecting the metrics took longer than 2000 ms']);
  });

  test('probes answer ok, or 503 with the reasons as lines', async () => {
    let problems: string[] = [];
    const url = await start({
      health: () => problems,
      ready: async () => [...problems, 'not connected to the bus yet'],
    });
    const healthy = await fetch(`${url}/healthz?verbose`);
    assert.deepEqual([healthy.status, await healthy.text()], [200, 'ok\n']);
    problems = ['shard 1 is silent for 12 s', 'shard 2 is gone'];
    const ill = await fetch(`${url}/healthz`);
    assert.deepEqual([ill.status, await ill.text()], [503, 'shard 1 is silent for 12 s\nshard 2 is gone\n']);
    const unready = await fetch(`${url}/readyz`);
    assert.deepEqual([unready.status, (await unready.text()).split('\n')[2]], [503, 'not connected to the bus yet']);
  });

  test('a check that throws or hangs is a reason too', async () => {
    const url = await start({
      health: () => {
        throw new Error('no shards');
      },
      ready: () => new Promise<string[]>(() => {}),
    });
    const thrown = await fetch(`${url}/healthz`);
    assert.deepEqual([thrown.status, await thrown.text()], [503, 'no shards\n']);
    const hung = await fetch(`${url}/readyz`);
    assert.deepEqual([hung.status, await hung.text()], [503, 'the check took longer than 900 ms\n']);
  });

  test('tells what the process is, as JSON that its schema takes', async () => {
    const status: PodStatus = {
      version: VERSION,
      role: 'gateway',
      name: 'g',
      draining: false,
      connections: 3,
      bytesSentTotal: 4_000,
      settings: { generation: 7, file: 'ab'.repeat(32) },
      fds: { limit: 1_024, open: 30 },
      pressure: {},
      bus: { connected: true },
    };
    const url = await start({ status: () => status });
    const response = await fetch(`${url}/status`);
    assert.equal(response.headers.get('content-type'), 'application/json');
    assert.deepEqual(PodStatus.parse(await response.json()), status);
    assert.match(VERSION, /^\d+\.\d+\.\d+/);
  });

  test('other paths and methods are refused', async () => {
    const url = await start();
    assert.equal((await fetch(`${url}/`)).status, 404);
    assert.equal((await fetch(`${url}/status`)).status, 404, 'a process that has none');
    assert.equal((await fetch(`${url}/metrics/x`)).status, 404);
    const post = await fetch(`${url}/metrics`, { method: 'POST', body: 'x'.repeat(100_000) });
    assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
    const head = await fetch(`${url}/healthz`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
  });

  test('its answer reaches a client that sends a large body before it reads', async () => {
    const body = Buffer.alloc(20_000_000);
    const url = await start();
    for (const [line, status] of [
      ['POST /metrics', 405],
      ['PUT /nowhere', 404],
      ['GET /healthz', 200],
    ] as const) {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      const chunks: Buffer[] = [];
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject).on('close', resolve);
        socket.write(`${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`);
        socket.end(body, () => socket.on('data', (chunk) => chunks.push(chunk)));
      });
      assert.match(String(Buffer.concat(chunks)), new RegExp(`^HTTP/1\\.1 ${status} `), line);
    }
  });

  test('a port that is taken is told by a sentence', async () => {
    await start();
    const first = admin!;
    await assert.rejects(start({ port: first.port }), {
      message: `admin: port ${first.port} is taken by another process on 127.0.0.1: stop that one, or set admin.port (with make run: ADMIN_PORT) to another`,
    });
    await first.close();
  });

  test('closes though a client holds a connection and says nothing', async () => {
    await start();
    const socket = connect(admin!.port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    await admin!.close();
    await closed;
  });

  test('cuts a client that never finishes its request', { timeout: 100_000 }, async () => {
    await start();
    const socket = connect(admin!.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.on('data', () => {});
    socket.write('GET /metrics HTTP/1.1\r\nHost: ');
    await closed;
  });
});
