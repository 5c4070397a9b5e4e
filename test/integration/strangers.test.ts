import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Rooms } from '@pushcluster/protocol/api.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, isAlive, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { dialRaw, readAll } from '../harness/rawHttp.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

let nats: NatsServer;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

const PER_CONNECTION = 100;
const CONNECTIONS = 14;

describe('a question about rooms', () => {
  const kinds: [string, string][] = [
    ['controls', '\u0001'],
    ['quotes', '"'],
    ['backslashes', '\\'],
  ];
  for (const [name, char] of kinds)
    it(`that are named with 124 ${name} is answered as far as an answer goes, and ends no gateway`, async (t) => {
      const { gateway, logic } = await start(t, { inbound: { frameRate: 1_000 } });
      const pids = [gateway.pid, ...shardsOf(gateway).values()];
      const connections = await connect(t, gateway, CONNECTIONS);
      const rooms = connections.map((_, i) =>
        Array.from({ length: PER_CONNECTION }, (_, j) => char.repeat(124) + String(i * PER_CONNECTION + j + 1_000)),
      );
      await Promise.all(
        connections.map((connection, i) => Promise.all(rooms[i]!.map((room) => connection.join(room)))),
      );
      const all = CONNECTIONS * PER_CONNECTION;
      let answer = await ask(logic, '/v1/rooms?limit=1000');
      await until('all rooms are counted', async () => {
        answer = await ask(logic, '/v1/rooms?limit=1000');
        return answer.total === all || answer.rooms.length === 1_000;
      });
      assert.deepEqual(answer.gateways, { asked: 1, answered: 1 });
      const known = new Set(rooms.flat());
      assert.ok(answer.rooms.length > 0 && answer.rooms.every(({ room }) => known.delete(room)));
      // Controls take six bytes each in JSON, quotes and backslashes two.
      if (char === '\u0001') {
        assert.equal(answer.partial, true);
        assert.equal(answer.total, all);
        assert.ok(answer.rooms.length < 1_000);
      } else {
        assert.equal(answer.rooms.length, 1_000);
        assert.equal(answer.partial, undefined);
      }
      await gateway.holds(CONNECTIONS);
      const metrics = await gateway.metrics();
      assert.equal(metrics.sum('pushcluster_gateway_internal_errors_total'), 0);
      assert.ok(pids.every(isAlive), 'a process was replaced');
    });
});

describe('HTTP on the port of gateways', () => {
  it('ends a connection that is no WebSocket after what it read at once, however many requests come and whatever they ask for', async (t) => {
    const { gateway } = await start(t, { console: true });
    for (const request of [
      'GET /x HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
      'HEAD /sdk.js HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET /connect HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}',
      'POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
    ]) {
      const count = Math.ceil(2_000_000 / request.length);
      const socket = await dialRaw(gateway.port, request.repeat(count));
      // A reset may overtake the answers of one that sends on.
      const text = await readAll(socket).catch(() => '');
      const answers = text.split('HTTP/1.1 ').length - 1;
      assert.ok(answers < count / 2, `${request}: ${answers} answers to ${count} requests`);
    }
  });

  it('answers a large body that nothing takes when it has arrived', async (t) => {
    const { gateway } = await start(t, {});
    const body = Buffer.alloc(5_000_000, 'x');
    for (const path of ['/x', '/connect']) {
      const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
      const text = await readAll(await dialRaw(gateway.port, Buffer.concat([Buffer.from(head), body])));
      assert.match(text, /^HTTP\/1\.1 4(04|00|26) /);
    }
  });
});

describe('an answer that the bus does not take', () => {
  it('is counted, and its gateway serves on', async (t) => {
    // Room for a push and a report, and not for the name of a room that JSON makes six times as long.
    const small = await startNatsServer({ maxPayload: 1_200 });
    t.after(() => small.stop());
    const { gateway, logic } = await start(t, {}, small);
    const [connection] = await connect(t, gateway, 1);
    await connection!.join('\u0001'.repeat(128));
    await until('the room is counted, and not named', async () => {
      const { rooms, partial, total } = await ask(logic, '/v1/rooms');
      return rooms.length === 0 && partial === true && total === 1;
    });
    await gateway.holds(1);
  });
});

describe('a gateway without a descriptor left', () => {
  it('tries on to replace its shard, says so, and keeps the other shard’s connections', async (t) => {
    const { gateway, logic } = await start(t, {});
    await until('the log has both shards', () => shardsOf(gateway).size === 2);
    const shards = shardsOf(gateway);
    const connections = await connect(t, gateway, 20);
    await Promise.all(connections.map((connection) => connection.join('r')));
    await gateway.holds(connections.length);
    const held = (await gateway.metrics()).by('pushcluster_gateway_shard_connections', 'shard');
    const expected = held.get('0') ?? 0;
    assert.ok(expected > 0 && expected < connections.length, 'both shards have connections');

    // One is left, to ask for /healthz, and those that the shard's end gives back: not the six that the start of another takes.
    const open = new Set(readdirSync(`/proc/${gateway.pid}/fd`).map(Number));
    let free = 0;
    while (open.has(free)) free++;
    const former = softLimit(gateway.pid);
    limit(gateway.pid, free + 1);
    process.kill(shards.get(0)!, 'SIGKILL');
    const lost = () => connections.filter(({ closed }) => closed !== undefined).length;
    await until('its clients see the cut', () => lost() === expected);
    await until('/healthz says it', async () => {
      // While it tries to start the shard there may be no descriptor for this connection either.
      const response = await fetch(`http://127.0.0.1:${gateway.adminPort}/healthz`).catch(() => undefined);
      const text = await response?.text();
      return (
        response?.status === 503 &&
        text?.includes("shard 0 does not listen, and its process can't be started: ") === true
      );
    });
    await until('it was tried several times', () => gateway.output.split('cannot start a shard').length > 3);
    const left = connections.filter(({ closed }) => closed === undefined);
    const before = left.map(({ received }) => received);
    await logic.push({ room: 'r' }, ['1']);
    await until('the others get items', () => left.every(({ received }, i) => received > before[i]!));

    limit(gateway.pid, former);
    await until('the gateway is whole', async () => (await gateway.probe('/healthz')) === 200);
    assert.equal(lost(), expected);
    await until('another listens in its place', () => shardsOf(gateway).get(0) !== shards.get(0));
    assert.equal(shardsOf(gateway).get(1), shards.get(1));
  });
});

describe('a room that is cut to ten items a second, with frames at once', () => {
  it('is told of what was cut once a second, exactly', async (t) => {
    const { gateway, logic } = await start(t, {}, nats, [
      { match: 'cut', batching: { maxDelay: 0 }, overload: { maxRate: 10, policy: 'sample' } },
    ]);
    const connections = await connect(t, gateway, 4);
    await Promise.all(connections.map((connection) => connection.join('cut')));
    const began = performance.now();
    const total = 1_000;
    for (let i = 0; i < total; i += 50)
      await Promise.all(Array.from({ length: 50 }, (_, j) => logic.push({ room: 'cut' }, [`${i + j}`])));
    for (const connection of connections)
      await until('all is accounted for', () => connection.received + connection.told() === total);
    const seconds = Math.ceil((performance.now() - began) / 1_000) + 1;
    for (const { lags } of connections) assert.ok(lags.length <= seconds, `${lags.length} words in ${seconds} s`);
  });
});

async function start(
  t: TestContext,
  gateway: SettingsInput['gateway'],
  bus = nats,
  rooms: SettingsInput['rooms'] = [],
): Promise<{ gateway: GatewayProcess; logic: LogicProcess }> {
  const settings = { gateway: { shards: 2, ...gateway }, rooms };
  const started = await startGateway({ settings, nats: [bus.url] });
  t.after(() => started.stop());
  const logic = await startLogic({ nats: [bus.url] });
  t.after(() => logic.stop());
  return { gateway: started, logic };
}

async function connect(t: TestContext, { port }: GatewayProcess, count: number): Promise<Connection[]> {
  const connections = await Promise.all(Array.from({ length: count }, () => Connection.open({ port, form: 'v1' })));
  t.after(() => cutAll(connections));
  return connections;
}

async function ask({ port }: LogicProcess, path: string) {
  return Rooms.parse(await (await fetch(`http://127.0.0.1:${port}${path}`)).json());
}

/** Processes of the shards that listen, as the log says. */
function shardsOf({ output }: GatewayProcess): Map<number, number> {
  const lines = Array.from(output.matchAll(/"shard":(\d+),"pid":(\d+),"msg":"shard listens"/g));
  return new Map(lines.map(([, shard, pid]) => [Number(shard), Number(pid)]));
}

function softLimit(pid: number): number {
  return Number(execFileSync('prlimit', ['--pid', `${pid}`, '--nofile', '--noheadings', '--output=SOFT', '--raw']));
}

/** Descriptors that a process may open from now on. */
function limit(pid: number, descriptors: number): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${descriptors}:`]);
}
