import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { after, before, describe, it, type TestContext } from 'node:test';
import { MessageStream } from '@pushcluster/gateway/ipc/messageStream.ts';
import type { HubMessage, ShardMessage } from '@pushcluster/gateway/ipc/messages.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Lateness } from '../harness/lateness.ts';
import { Ledger } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import {
  type GatewayProcess,
  isAlive,
  isStopped,
  type LogicProcess,
  startGateway,
  startLogic,
} from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const SHARD_MAIN = new URL('../../gateway/shard/main.ts', import.meta.url).pathname;
const PER_FORM = 20;
/** Long enough that a shard that only waits for a processor is not taken for one that hangs. */
const HANG_TIMEOUT_MS = 5_000;
/** In which a cut is seen, beside the time that a hang takes and what the machine is late. */
const SLACK_MS = 5_000;
/** The most that can be set. */
const NEVER_HANGS_MS = 120_000;
/** The least that can be set. */
const MAX_IN_FLIGHT = 1_048_576;

let nats: NatsServer;
let logic: LogicProcess;

before(async () => {
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
});
after(async () => {
  await logic.stop();
  await nats.stop();
});

describe('a shard', () => {
  for (const how of ['SIGKILL', 'SIGSTOP'] as const) {
    const what = how === 'SIGKILL' ? 'that is killed with -9' : 'that hangs is killed by the watch and';
    it(`${what} is replaced; the other shard's connections don't notice`, async (t) => {
      const gateway = await start(t, { hangTimeout: HANG_TIMEOUT_MS });
      const connections = await connect(gateway);
      const shards = shardsOf(gateway);
      const [victim, pid] = [0, shards.get(0)!];
      const held = (await gateway.metrics()).by('pushcluster_gateway_shard_connections', 'shard');
      const expected = held.get(String(victim))!;
      assert.ok(expected > 0 && expected < connections.length, 'both shards have connections');
      const ledger = new Ledger();
      const writer = ledger.writer('w', { room: 'r' }, logic);
      let pushing = true;
      const load = (async () => {
        while (pushing) await writer.push(2, 50);
      })();
      await until('items flow', () => connections.every(({ received }) => received > 10));

      const lateness = Lateness.during(t);
      const began = performance.now();
      process.kill(pid, how);
      const lost = () => connections.filter(({ closed }) => closed !== undefined);
      await until('its clients see the cut', () => lost().length === expected);
      const took = performance.now() - began;
      t.diagnostic(`its ${expected} clients saw the cut after ${Math.round(took)} ms`);
      assert.ok(took <= HANG_TIMEOUT_MS + SLACK_MS + lateness.total, `${took} ms`);
      if (how === 'SIGSTOP') assert.ok(took > HANG_TIMEOUT_MS / 2, 'not at the first silence');
      await until('the process is gone', () => !isAlive(pid));
      await until('another listens in its place', () => shardsOf(gateway).get(victim) !== pid);
      await until('the gateway is whole', async () => (await gateway.probe('/healthz')) === 200);
      assert.equal((await gateway.metrics()).sum('pushcluster_gateway_shard_restarts_total'), 1);

      const back = await connect(gateway);
      await until('the new shard has connections', async () => {
        const now = (await gateway.metrics()).by('pushcluster_gateway_shard_connections', 'shard');
        return (now.get(String(victim)) ?? 0) > 0;
      });
      await until('those who came back get items', () => back.every(({ received }) => received > 10));
      pushing = false;
      await load;
      assert.equal(lost().length, expected);
      const kept = connections.filter(({ closed }) => closed === undefined);
      await ledger.settle(t, kept);
      assert.ok(kept.every((connection) => connection.told() === 0));
      cutAll([...connections, ...back]);
    });
  }

  it('whose hub dies while it starts does not listen: the port is free for the next gateway', async () => {
    const [port] = await freePorts(1);
    const child = spawn(process.execPath, [SHARD_MAIN], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
    const socket = child.stdio[3];
    assert.ok(socket instanceof Socket);
    const said: string[] = [];
    const hub = new MessageStream<HubMessage, ShardMessage>(
      socket,
      ({ type }) => said.push(type),
      () => {},
      assert.ifError,
    );
    hub.send({ type: 'settings', shard: 0, shards: 1, settings: Settings.parse({ gateway: { port } }) });
    // All that it sent is read before its end, as from a hub that died. What the shard says is still heard.
    setImmediate(() => socket.end());
    assert.deepEqual(await once(child, 'close'), [0, null]);
    assert.deepEqual(said, []);
  });

  it('that falls behind gets no more than its credit, and its members are told exactly what that cost', async (t) => {
    const gateway = await start(t, { maxInFlight: MAX_IN_FLIGHT, hangTimeout: NEVER_HANGS_MS });
    const connections = await connect(gateway);
    const shards = shardsOf(gateway);
    const ledger = new Ledger();
    const writer = ledger.writer('w', { room: 'r' }, logic);
    const all = ledger.writer('a', { all: true }, logic);
    process.kill(shards.get(0)!, 'SIGSTOP');
    await until('the shard stands still', () => isStopped(shards.get(0)!));
    const answering = new Set<Connection>();
    for (const connection of connections)
      connection.ping().then(
        () => answering.add(connection),
        () => {},
      );
    const held = (await gateway.metrics()).by('pushcluster_gateway_shard_connections', 'shard');
    await until('the other shard answers', () => answering.size === held.get('1'));
    const live = [...answering];
    const behind = connections.filter((connection) => !answering.has(connection));
    assert.ok(live.length > 0 && behind.length > 0, 'both shards have connections');

    const others = () => live.flatMap((connection) => ledger.accounts(connection));
    for (let i = 0; i < 12; i++) {
      await writer.push(15, 32_000);
      await all.push(1, 100);
      await until('the others have it all', () => others().every(({ published, received }) => published === received));
    }
    const overrun = () =>
      gateway.metrics().then((metrics) => metrics.sum('pushcluster_gateway_shard_overrun_items_total'));
    await until('frames were dropped', async () => (await overrun()) > 0);
    process.kill(shards.get(0)!, 'SIGCONT');
    await ledger.settle(t, connections, { lossy: true });
    t.diagnostic(`${await overrun()} items were dropped before the shard`);
    for (const connection of behind) {
      assert.equal(connection.closed, undefined);
      if (connection.form !== 'plain') assert.ok(connection.told('overload') > 0);
      assert.equal(connection.told(), connection.told('overload'));
    }
    assert.ok(live.every((connection) => connection.told() === 0));
    assert.deepEqual(shardsOf(gateway), shards, 'no shard was replaced');
    cutAll(connections);
  });
});

async function start(t: TestContext, shardWatch: { hangTimeout?: number; maxInFlight?: number }) {
  const gateway = await startGateway({
    settings: { gateway: { shards: 2, shardWatch, batching: { maxDelay: 100 } } },
    nats: [nats.url],
  });
  t.after(() => gateway.stop());
  await until('the log has both shards', () => shardsOf(gateway).size === 2);
  return gateway;
}

async function connect(gateway: GatewayProcess): Promise<Connection[]> {
  const { port } = gateway;
  const before = await gateway.connections();
  const connections = await Promise.all(
    WIRE_FORMS.flatMap((form) => Array.from({ length: PER_FORM }, () => Connection.open({ port, form }))),
  );
  await Promise.all(connections.map((connection) => connection.join('r')));
  await gateway.holds(before + connections.length);
  return connections;
}

/** Processes of the shards, by what the gateway logs when they listen. */
function shardsOf({ output }: GatewayProcess): Map<number, number> {
  const shards = new Map<number, number>();
  for (const line of output.split('\n')) {
    if (!line.includes('"shard listens"')) continue;
    const [, shard, pid] = /"shard":(\d+),"pid":(\d+)/.exec(line) ?? [];
    shards.set(Number(shard), Number(pid));
  }
  return shards;
}
