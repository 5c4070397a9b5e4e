import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { startTcpProxy, type TcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';

let nats: NatsServer;
/** Between the first gateway and NATS, and between the first logic process and NATS. */
let ofGateway: TcpProxy;
let ofLogic: TcpProxy;
let gateway: GatewayProcess;
let whole: GatewayProcess;
let logics: [LogicProcess, LogicProcess];
const connections: Connection[] = [];
const late: LogicProcess[] = [];

/** What is not to notice a cut by itself gives up no server that a busy machine makes slow. */
const bus = (port: number, pingInterval = 60_000) => ({
  bus: { nats: { servers: [`nats://127.0.0.1:${port}`], pingInterval } },
});

before(async () => {
  nats = await startNatsServer();
  ofGateway = await startTcpProxy(nats.port);
  ofLogic = await startTcpProxy(nats.port);
  const hub = { gateway: { shards: 1, batching: { maxDelay: 50 } } };
  [gateway, whole] = (await Promise.all(
    [bus(ofGateway.port, 2_000), bus(nats.port)].map((settings) => startGateway({ settings: { ...settings, ...hub } })),
  )) as [GatewayProcess, GatewayProcess];
  logics = (await Promise.all([ofLogic.port, nats.port].map((port) => startLogic({ settings: bus(port) })))) as [
    LogicProcess,
    LogicProcess,
  ];
});
after(async () => {
  cutAll(connections);
  await Promise.all([gateway, whole, ...logics, ...late].map((process) => process.stop()));
  await Promise.all([ofGateway.close(), ofLogic.close()]);
  await nats.stop();
});

async function member(room: string, of = gateway): Promise<Connection> {
  const connection = await Connection.open({ port: of.port, form: 'v1', keepItems: true });
  connections.push(connection);
  await connection.join(room);
  return connection;
}

async function push(logic: LogicProcess, room: string, item: string, id?: string): Promise<void> {
  const { status, body } = await logic.push({ room }, [item], id === undefined ? {} : { id });
  assert.equal(status, 202, JSON.stringify(body));
}

const connected = async (process: GatewayProcess | LogicProcess) =>
  (await process.metrics()).sum('pushcluster_bus_connected') === 1;

/** What happens while the gateway is away from the bus. */
async function whileAway(what: () => Promise<void>): Promise<void> {
  ofGateway.cut();
  await until('the gateway notices', async () => !(await connected(gateway)));
  await what();
  await ofGateway.heal();
  await until('the gateway is back', () => connected(gateway));
}

const textsOf = ({ items }: Connection) => items.map(({ text }) => text);

describe('items that a gateway loses on the bus', () => {
  it('are told where they were the last of their room', async () => {
    const client = await member('last');
    await push(logics[0], 'last', '"1"');
    await until('the first came', () => client.items.length === 1);
    await whileAway(() => push(logics[0], 'last', '"2"'));
    await until('it is told', () => client.told('bus_gap') === 1);
  });

  it('are told where their publisher had not been heard in the room', async () => {
    const client = await member('unheard');
    // Some time after the JOIN: the publisher's beat before it is another than that before its pushes.
    await pass(300);
    await whileAway(async () => {
      for (const logic of logics) for (const item of ['"1"', '"2"']) await push(logic, 'unheard', item);
    });
    await until('all four are told', () => client.told('bus_gap') === 4);
    await push(logics[0], 'unheard', '"3"');
    await until('the next comes', () => client.items.length === 1);
    assert.equal(client.told(), 4);
  });

  it('are told where their publisher began meanwhile', async () => {
    // A gateway that was away knows of all who publish only after it has listened for longer than from beat to beat.
    await pass(3_000);
    const client = await member('young');
    await whileAway(async () => {
      const logic = await startLogic({ settings: bus(nats.port) });
      late.push(logic);
      for (const item of ['"1"', '"2"', '"3"']) await push(logic, 'young', item);
    });
    await until('they are told', () => client.told('bus_gap') === 3);
  });

  it('are not told where the room was not joined yet', async () => {
    await push(logics[0], 'before', '"1"');
    const client = await member('before');
    await push(logics[0], 'before', '"2"');
    await push(logics[1], 'before', '"3"');
    await until('both came', () => client.items.length === 2);
    const beats = async () => (await whole.metrics()).sum('pushcluster_gateway_gaps_total');
    // Counts are told once more some seconds after a push.
    await pass(3_000);
    assert.deepEqual([client.told(), await beats()], [0, 0]);
  });

  it('are none where a retry of what nobody confirmed came in their place', async () => {
    const clients = [await member('retried'), await member('retried', whole)];
    await push(logics[0], 'retried', '"1"');
    await until('the first came', () => clients.every(({ items }) => items.length === 1));
    ofLogic.cut();
    const answer = await logics[0].push({ room: 'retried' }, ['"2"'], { id: 'k' });
    assert.equal(answer.status, 503);
    assert.match(JSON.stringify(answer.body), /bus_unconfirmed/);
    await push(logics[1], 'retried', '"2"', 'k');
    await ofLogic.heal();
    await until('logic is back', () => connected(logics[0]));
    await push(logics[0], 'retried', '"2"', 'k');
    await push(logics[0], 'retried', '"3"');
    await until('all came', () => clients.every(({ items }) => items.length === 3));
    await pass(3_000);
    for (const client of clients) {
      assert.deepEqual(textsOf(client), ['"1"', '"2"', '"3"']);
      assert.equal(client.told(), 0);
    }
  });
});
