import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { Connection, cutAll, Refused } from '../harness/connection.ts';
import { MemoryCgroup } from '../harness/memoryCgroup.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type ProcessOptions, startGateway, startLogic } from '../harness/processes.ts';
import { close, RawWebSocket, upgradeRequest } from '../harness/rawWebSocket.ts';
import { Storm } from '../harness/storm.ts';
import { until } from '../harness/until.ts';

const MIB = 1_048_576;
const THERE = 20;
const CROWD = 2_000;

describe('a gateway that runs short refuses newcomers, and serves those who are there', () => {
  it('of descriptors: before a shard can open no more', async (t) => {
    const { gateway, there } = await start(t, { nofile: 400, settings: { gateway: { protection: { fds: 0.5 } } } });
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    const refused = await untilRefused(gateway, 'fds', more);
    assertOverload(refused, 'fds');
    assert.ok(more.length > 100 && more.length < 200, `${more.length} more connections of 400 descriptors`);
    assert.ok((await pressure(gateway, 'fds')) >= 0.45);
    await areServed(there);
    // Sockets that say nothing are descriptors too.
    cutAll(more.splice(0, 40));
    await until('there is room', async () => (await attempt(gateway, more)) === undefined);
    const silent = await silentSockets(t, gateway, 60);
    await untilRefused(gateway, 'fds', more);
    await until('they are counted as the kernel counts them', async () => {
      const { fds } = await statusOf(gateway);
      return fds.open === readdirSync(`/proc/${gateway.shardPids[0]}/fd`).length;
    });
    for (const socket of silent) socket.destroy();
    await comesBack(gateway, more, refused);
    await isLogged(gateway, 'fds');
  });

  it('of descriptors that closed connections hold: their clients do not close the socket', async (t) => {
    const { gateway, there } = await start(t, { nofile: 400, settings: { gateway: { protection: { fds: 0.5 } } } });
    const held: RawWebSocket[] = [];
    t.after(() => {
      for (const raw of held) raw.destroy();
    });
    while (held.length < 100) held.push(await RawWebSocket.open(gateway.port));
    for (const raw of held) {
      raw.socket.allowHalfOpen = true;
      raw.send(close(1000));
    }
    await until('the gateway holds none of them', async () => (await statusOf(gateway)).connections === THERE);
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    const refused = await untilRefused(gateway, 'fds', more);
    assert.ok(more.length < 100, `${more.length} more connections beside 100 sockets, of 400 descriptors`);
    await areServed(there);
    for (const raw of held.splice(0)) raw.destroy();
    await comesBack(gateway, more, refused);
  });

  it('of the loop’s time: a shard that stood still says so first of all', async (t) => {
    const { gateway, there } = await start(t);
    const [pid = 0] = gateway.shardPids;
    process.kill(pid, 'SIGSTOP');
    await setTimeout(2_500);
    // These come while it stands still: the kernel takes them on, and their requests are there when it goes on.
    const waiting = await Promise.all(Array.from({ length: 10 }, () => RawWebSocket.dial(gateway.port)));
    t.after(() => {
      for (const raw of waiting) raw.destroy();
    });
    for (const raw of waiting) raw.send(upgradeRequest('/connect'));
    await until('they have asked', () => waiting.every(({ socket }) => socket.writableLength === 0));
    process.kill(pid, 'SIGCONT');
    const answers = await Promise.all(waiting.map((raw) => raw.answer()));
    const refusals = answers
      .filter(({ status }) => status !== 101)
      .map(({ status, headers, body }) => new Refused(status, Object.fromEntries(headers), body));
    assert.ok(refusals.length > 0, 'some are refused');
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    for (const refusal of refusals) assertOverload(refusal, 'loop');
    await areServed(there);
    await comesBack(gateway, more, refusals[0]!);
    await isLogged(gateway, 'loop');
  });

  it('of the hub’s time', async (t) => {
    const { gateway, there } = await start(t);
    process.kill(gateway.pid, 'SIGSTOP');
    await setTimeout(2_500);
    process.kill(gateway.pid, 'SIGCONT');
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    const refused = await untilRefused(gateway, 'loop', more);
    await areServed(there);
    await comesBack(gateway, more, refused);
  });

  it('of handshakes: sockets that never say what they want', async (t) => {
    const { gateway, there } = await start(t, { settings: { gateway: { protection: { handshakes: 10 } } } });
    const early = await RawWebSocket.dial(gateway.port);
    t.after(() => early.destroy());
    const silent = await silentSockets(t, gateway, 25);
    await until('some are cut unread', () => silent.filter(({ destroyed }) => destroyed).length >= 5);
    early.send(upgradeRequest('/connect'));
    assert.equal((await early.answer()).status, 101, 'whoever is there and asks is answered');
    await areServed(there);
    for (const socket of silent) socket.destroy();
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    await until('others get in', async () => (await attempt(gateway, more)) === undefined);
  });

  it('of memory: before its container is killed for it', async (t) => {
    const limit = 500 * MIB;
    const group = MemoryCgroup.create(`pushcluster-test-${process.pid}`, limit);
    if (!group) {
      t.skip('needs root, and a memory controller');
      return;
    }
    const { gateway, there } = await group.within(() => start(t));
    const more: Connection[] = [];
    t.after(() => cutAll(more));
    assert.equal(await attempt(gateway, more), undefined);
    const balloon = await group.within(() => startBalloon(t));
    t.after(() => until('the group is empty', () => isRemoved(group)));
    while (group.used < 0.92 * limit) await inflate(balloon, Math.max(MIB, 0.92 * limit - group.used));
    const refused = await untilRefused(gateway, 'memory', more);
    assertOverload(refused, 'memory');
    assert.ok((await pressure(gateway, 'memory')) >= 0.87);
    await areServed(there);
    // One leaves: one may come.
    const leaver = there.pop();
    leaver?.cut();
    await until('one gets in', async () => (await attempt(gateway, more)) === undefined);
    await until('no other', async () => (await attempt(gateway, more)) !== undefined);
    balloon.kill();
    await comesBack(gateway, more, refused);
    await isLogged(gateway, 'memory');
  });
});

describe('a gateway that is busy, and not late', () => {
  it('refuses nobody while it broadcasts on all of the time that it gets', async (t) => {
    const nats = await startNatsServer();
    t.after(() => nats.stop());
    const logic = await startLogic({ nats: [nats.url] });
    t.after(() => logic.stop());
    // No merging: each push is a frame for everyone. The loop may be as late as a busy machine makes it: what counts is
    // that a loop which has no time left is not late by that.
    const { gateway, there } = await start(t, {
      nats: [nats.url],
      settings: { gateway: { batching: { maxDelay: 0 }, protection: { loopLag: 10_000 } } },
    });
    const crowd = await Storm.start({ targets: [`127.0.0.1:${gateway.port}`], connections: CROWD });
    t.after(() => crowd.end());
    await crowd.rage(120_000);
    const stop = new AbortController();
    const push = async () => {
      while (!stop.signal.aborted) await logic.push({ room: 'live' }, ['1']);
    };
    const before = await busyMs(gateway);
    const began = performance.now();
    const pushing = Promise.all(Array.from({ length: 4 }, push));
    const came: Connection[] = [];
    t.after(() => cutAll(came));
    let highest = 0;
    while (performance.now() - began < 4_000) {
      assert.equal(await attempt(gateway, came), undefined, 'a newcomer gets in');
      highest = Math.max(highest, await pressure(gateway, 'loop'));
      await setTimeout(100);
    }
    const busy = ((await busyMs(gateway)) - before) / (performance.now() - began);
    stop.abort();
    await pushing;
    t.diagnostic(
      `the shard ran or waited for a core ${Math.round(busy * 100)} % of the time; pressure ${highest.toFixed(2)} at most`,
    );
    assert.ok(busy > 0.7, `busy ${busy}`);
    await areServed(there);
  });
});

/** A gateway of one shard that holds some connections. */
async function start(t: TestContext, options: ProcessOptions = {}) {
  const gateway = await startGateway({
    ...options,
    settings: {
      ...options.settings,
      gateway: {
        shards: 1,
        ...options.settings?.gateway,
        // The default, which the harness turns off.
        protection: { loopLag: 500, ...options.settings?.gateway?.protection },
      },
    },
  });
  const there: Connection[] = [];
  t.after(async () => {
    cutAll(there);
    await gateway.stop();
  });
  while (there.length < THERE) there.push(await Connection.open({ port: gateway.port, form: 'v1' }));
  return { gateway, there };
}

/** Milliseconds that the shard ran, or was ready to run and had no core, since its start. */
async function busyMs(gateway: GatewayProcess): Promise<number> {
  const [ran = 0, waited = 0] = (await readFile(`/proc/${gateway.shardPids[0]}/schedstat`, 'utf8'))
    .split(' ')
    .map(Number);
  return (ran + waited) / 1e6;
}

/** One more connection, among `opened`; or how it was refused. */
async function attempt(gateway: GatewayProcess, opened: Connection[]): Promise<Refused | undefined> {
  try {
    opened.push(await Connection.open({ port: gateway.port, form: 'v1' }));
    return undefined;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error;
  }
}

/** Connects until it is refused for this reason. On a busy machine the shard may be late now and then as well. */
async function untilRefused(gateway: GatewayProcess, reason: string, opened: Connection[]): Promise<Refused> {
  let refused: Refused | undefined;
  await until(`a handshake is refused for ${reason}`, async () => {
    refused = await attempt(gateway, opened);
    return refused?.body.includes(`"code":"${reason}"`) === true;
  });
  if (!refused) throw new Error('not refused');
  await until('it is counted', async () => {
    return (await gateway.metrics()).sum('pushcluster_gateway_refused_total', { reason }) > 0;
  });
  return refused;
}

function assertOverload(refused: Refused, code: string) {
  assert.equal(refused.status, 503, refused.body);
  assert.match(refused.body, new RegExp(`"code":"${code}"`));
  assert.match(refused.headers['retry-after'] ?? '', /^[1-5]$/);
  assert.equal(refused.headers.connection, 'close', 'it gives back its socket');
}

/** Who was refused obeys Retry-After until it gets in. */
async function comesBack(gateway: GatewayProcess, opened: Connection[], refused: Refused): Promise<void> {
  let answer: Refused | undefined = refused;
  for (let tries = 0; answer && tries < 10; tries++) {
    await setTimeout(Number(answer.headers['retry-after']) * 1_000);
    answer = await attempt(gateway, opened);
  }
  assert.equal(answer, undefined, 'it got in');
}

async function areServed(connections: readonly Connection[]): Promise<void> {
  await Promise.all(connections.map((connection) => connection.ping()));
  assert.ok(connections.every(({ closed }) => closed === undefined));
}

/** As the metric has it, and the status; 0 before the first look. */
async function pressure(gateway: GatewayProcess, resource: 'memory' | 'fds' | 'loop'): Promise<number> {
  const status = await statusOf(gateway);
  const shown = (await gateway.metrics()).sum('pushcluster_gateway_pressure', { resource });
  assert.equal(shown > 0, (status.pressure[resource] ?? 0) > 0);
  return shown;
}

async function statusOf(gateway: GatewayProcess): Promise<PodStatus> {
  return PodStatus.parse(await (await fetch(`http://127.0.0.1:${gateway.adminPort}/status`)).json());
}

/** The beginning and the end of the shortage have a line each. */
async function isLogged(gateway: GatewayProcess, resource: string): Promise<void> {
  await until(`${resource} is in the log`, () => {
    const lines = gateway.output.split('\n').filter((line) => line.includes(`"resource":"${resource}"`));
    return (
      lines.some((line) => line.includes('running short')) && lines.some((line) => line.includes('no longer short'))
    );
  });
}

async function silentSockets(t: TestContext, gateway: GatewayProcess, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => createConnection(gateway.port, '127.0.0.1'));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(
    sockets.map(async (socket) => {
      socket.on('error', () => {});
      socket.resume();
      await once(socket, 'connect');
    }),
  );
  return sockets;
}

type Balloon = ReturnType<typeof spawnBalloon>;

/** A process that holds as many bytes as it is told to. */
async function startBalloon(t: TestContext): Promise<Balloon> {
  const balloon = spawnBalloon();
  t.after(() => balloon.kill('SIGKILL'));
  await inflate(balloon, 1);
  return balloon;
}

function spawnBalloon() {
  const script = `const held = [];
    require('node:readline').createInterface(process.stdin).on('line', (bytes) => {
      held.push(Buffer.alloc(Number(bytes), 1));
      console.log(held.length);
    })`;
  return spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function inflate(balloon: Balloon, bytes: number): Promise<void> {
  balloon.stdin.write(`${Math.round(bytes)}\n`);
  await once(balloon.stdout, 'data');
}

function isRemoved(group: MemoryCgroup): boolean {
  try {
    group.remove();
    return true;
  } catch {
    return false;
  }
}
