import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger, type Place } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { startTcpProxy, type TcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';

const PLACES: Place[] = [{ room: 'r0' }, { room: 'r1' }, { all: true }];
const PER_FORM = 10;
/** Items that each writer pushes while the gateway is cut off. */
const UNHEARD = 40;
/** Milliseconds between pings, the most that can be set: a gateway then notices a cut after two minutes at the earliest. */
const SELDOM = 60_000;

let nats: NatsServer;
let proxy: TcpProxy;
let logic: LogicProcess;
/** The first has the proxy between itself and NATS. */
let gateways: GatewayProcess[];
let connections: Connection[];

before(async () => {
  nats = await startNatsServer();
  proxy = await startTcpProxy(nats.port);
  logic = await startLogic({ settings: { bus: bus(nats.url) } });
  gateways = await Promise.all([proxied(), nats.url].map((url) => startOn(url)));
  connections = (await Promise.all(gateways.map(connect))).flat();
});
after(async () => {
  cutAll(connections);
  await Promise.all([...gateways, logic].map((process) => process.stop()));
  await proxy.close();
  await nats.stop();
});

describe('a network that is cut between one gateway and NATS', () => {
  it('costs no connection, and after it has healed everyone is told exactly what they missed', async (t) => {
    const [cutOff, other] = gateways as [GatewayProcess, GatewayProcess];
    const ledger = new Ledger();
    const writers = PLACES.map((place, p) => ledger.writer(`w${p}`, place, logic));
    for (const writer of writers) await writer.push(5);
    const isSettled = (connection: Connection) =>
      ledger.accounts(connection).every(({ published, received }) => published === received);
    await until('the first items came', () => connections.every(isSettled));

    proxy.cut();
    await until('the gateway notices', async () => (await cutOff.metrics()).sum('pushcluster_bus_connected') === 0);
    for (let i = 0; i < UNHEARD; i++) for (const writer of writers) assert.equal((await writer.push(1)).status, 202);
    const [unlucky, others] = [on(cutOff), on(other)];
    await until('the others have it all', () => others.every(isSettled));
    assert.equal(await cutOff.probe('/readyz'), 200);
    assert.ok(!unlucky.some(isSettled));

    proxy.heal();
    await until('the gateway is back', async () => (await cutOff.metrics()).sum('pushcluster_bus_connected') === 1);
    await ledger.settle(t, connections, { lossy: true });
    for (const connection of unlucky) {
      assert.equal(connection.closed, undefined);
      if (connection.form === 'plain') continue;
      const [room] = connection.rooms;
      const told = (place: string | undefined) => connection.lags.filter((lag) => lag.room === place);
      assert.deepEqual(told(room), [{ room, dropped: UNHEARD, reason: 'bus_gap' }]);
      assert.deepEqual(told(undefined), [{ room: undefined, dropped: UNHEARD, reason: 'bus_gap' }]);
    }
    assert.ok(others.every((connection) => connection.told() === 0 && connection.closed === undefined));
    const metrics = await cutOff.metrics();
    assert.equal(metrics.sum('pushcluster_gateway_gaps_total'), PLACES.length * UNHEARD);
    assert.equal((await other.metrics()).sum('pushcluster_gateway_gaps_total'), 0);
  });

  it('costs nothing where it heals before anyone notices', async (t) => {
    const gateway = await startOn(proxied(), SELDOM);
    t.after(() => gateway.stop());
    const connections = await connect(gateway);
    t.after(() => cutAll(connections));
    const ledger = new Ledger();
    const writers = PLACES.map((place, p) => ledger.writer(`late${p}`, place, logic));
    proxy.cut();
    for (let i = 0; i < 5; i++) for (const writer of writers) await writer.push(1);
    proxy.heal();
    await ledger.settle(t, connections);
    assert.equal(connections.filter((connection) => connection.told() > 0).length, 0);
    assert.equal((await gateway.metrics()).sum('pushcluster_bus_reconnects_total'), 0);
  });
});

const proxied = () => `nats://127.0.0.1:${proxy.port}`;
const bus = (url: string, pingInterval = 1_000) => ({ nats: { servers: [url], pingInterval } });

function startOn(url: string, pingInterval?: number): Promise<GatewayProcess> {
  const gateway = { shards: 2, batching: { maxDelay: 100 } };
  return startGateway({ settings: { bus: bus(url, pingInterval), gateway } });
}

/** Connections of each wire form, in the first two places. */
async function connect({ port }: GatewayProcess): Promise<Connection[]> {
  const opened: Connection[] = [];
  for (const form of WIRE_FORMS) for (let i = 0; i < PER_FORM; i++) opened.push(await Connection.open({ port, form }));
  await Promise.all(opened.map((connection, i) => connection.join(`r${i % 2}`)));
  return opened;
}

function on({ port }: GatewayProcess): Connection[] {
  return connections.filter((connection) => connection.port === port);
}
