import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger, type Place } from '../harness/ledger.ts';
import { type NatsCluster, type NatsServer, startNatsCluster } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const PLACES: Place[] = [{ room: 'r0' }, { room: 'r1' }, { all: true }];

let cluster: NatsCluster;
let logics: LogicProcess[];
let gateways: GatewayProcess[];

before(async () => {
  cluster = await startNatsCluster(3, { config: 'lame_duck_duration: "30s"\nlame_duck_grace_period: "10s"' });
  const nats = cluster.urls;
  [logics, gateways] = await Promise.all([
    Promise.all([0, 1].map(() => startLogic({ nats }))),
    Promise.all(
      [0, 1].map(() => startGateway({ nats, settings: { gateway: { shards: 1, batching: { maxDelay: 50 } } } })),
    ),
  ]);
});
after(async () => {
  await Promise.all([...gateways, ...logics].map((process) => process.stop()));
  await cluster.stop();
});

/** Milliseconds for which a server on a busy machine stands still, and then runs. */
const STANDSTILL_MS = 300;

/** A busy machine: lets a server stand still again and again until `signal` aborts. */
async function stumbling(server: NatsServer, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await server.pause();
    await setTimeout(STANDSTILL_MS);
    server.resume();
    await setTimeout(STANDSTILL_MS);
  }
}

describe('NATS servers that are restarted one after the other, each after its lame-duck notice', () => {
  for (const [when, isBusy] of [
    ['', false],
    [', where another one stands still again and again', true],
  ] as const)
    it(`cost no push, no item and no connection, and nothing comes twice${when}`, async (t) => {
      const connections = await Promise.all(
        gateways.flatMap(({ port }) => WIRE_FORMS.map((form) => Connection.open({ port, form }))),
      );
      t.after(() => cutAll(connections));
      await Promise.all(connections.map((connection, i) => connection.join(`r${i % 2}`)));
      const ledger = new Ledger();
      const writers = PLACES.flatMap((place, p) => logics.map((logic, l) => ledger.writer(`w${p}${l}`, place, logic)));
      let writing = true;
      const statuses = new Map<number, number>();
      const load = writers.map(async (writer) => {
        while (writing) {
          const { status } = await writer.push(1);
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      });
      for (const [i, server] of cluster.servers.entries()) {
        const before = statuses.get(202) ?? 0;
        const restarted = new AbortController();
        const busy = isBusy && stumbling(cluster.servers[(i + 1) % cluster.servers.length]!, restarted.signal);
        await server.lameDuck();
        restarted.abort();
        await busy;
        await cluster.formed();
        await until('pushes went on', () => (statuses.get(202) ?? 0) > before + 50);
      }
      writing = false;
      await Promise.all(load);
      await ledger.settle(t, connections);
      assert.deepEqual([...statuses.keys()], [202]);
      assert.equal(connections.filter((connection) => connection.told() > 0 || connection.closing).length, 0);
      for (const process of [...gateways, ...logics])
        assert.equal((await process.metrics()).sum('pushcluster_bus_reconnects_total'), 0, 'the bus was always there');
      for (const gateway of gateways) assert.equal((await gateway.metrics()).sum('pushcluster_gateway_gaps_total'), 0);
    });
});
