import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { startTcpProxy, type TcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';

const ROOMS = Array.from({ length: 30 }, (_, i) => `r${i}`);

/** A server that takes `limit` subscriptions of a connection, and denies its users those to `denied`. */
const config = (limit: number, denied = '"nothing"') => `
max_subscriptions: ${limit}
authorization { default_permissions { publish: ">", subscribe { allow: ">", deny: [${denied}] } }, users: [{ user: u }] }`;

let nats: NatsServer;
/** Between the gateway and NATS. */
let proxy: TcpProxy;
let logic: LogicProcess;
let gateway: GatewayProcess;
const connections: Connection[] = [];

before(async () => {
  nats = await startNatsServer({ config: config(20) });
  proxy = await startTcpProxy(nats.port);
  const bus = (port: number) => ({
    // So that nothing but a JOIN notices a cut.
    bus: { nats: { servers: [`nats://127.0.0.1:${port}`], user: 'u', pingInterval: 60_000 } },
  });
  logic = await startLogic({ settings: bus(nats.port) });
  gateway = await startGateway({
    settings: { ...bus(proxy.port), gateway: { shards: 1, batching: { maxDelay: 0 } } },
  });
});
after(async () => {
  cutAll(connections);
  await Promise.all([gateway, logic].map((process) => process.stop()));
  await proxy.close();
  await nats.stop();
});

async function open(): Promise<Connection> {
  const connection = await Connection.open({ port: gateway.port, form: 'v1', keepItems: true });
  connections.push(connection);
  return connection;
}

/** Whether the connection is in the room: OK, or the code of its ERROR. */
async function answer(connection: Connection, room: string): Promise<string> {
  const reply = await connection.ask('JOIN', { room });
  return reply.type === 'OK' ? 'OK' : reply.data.code;
}

/** Logic is connected, and not only as far as it has noticed. */
async function logicIsThere(): Promise<void> {
  await until('logic is there', async () => (await logic.push({ room: 'of nobody' }, ['1'])).status === 202);
}

async function push(room: string): Promise<void> {
  const { status, body } = await logic.push({ room }, [JSON.stringify(room)]);
  assert.equal(status, 202, JSON.stringify(body));
}

/** The rooms whose item has come. */
const roomsOf = (connection: Connection) => new Set(connection.items.map(({ room }) => room));

const metric = async (name: string) => (await gateway.metrics()).sum(name);

describe('OK to a JOIN', () => {
  it('means that items come, for just as many rooms as the server takes subscriptions', async () => {
    const connection = await open();
    const answers = await Promise.all(ROOMS.map((room) => answer(connection, room)));
    const joined = ROOMS.filter((_, i) => answers[i] === 'OK');
    assert.ok(joined.length > 5 && joined.length < 20, `${joined.length} of ${ROOMS.length} joined`);
    assert.deepEqual(new Set(answers), new Set(['OK', 'unavailable']));
    for (const room of ROOMS) await push(room);
    await until('their items came', () => connection.items.length >= joined.length);
    assert.deepEqual(roomsOf(connection), new Set(joined));

    // The others are tried again: where some leave, some of them come into force.
    const refused = ROOMS.filter((_, i) => answers[i] !== 'OK');
    for (const room of joined.slice(0, 3)) await connection.leave(room);
    await until('one more can be joined', async () => (await answer(connection, refused[0]!)) === 'OK');
    connection.items.length = 0;
    await push(refused[0]!);
    await until('its item came', () => connection.items.length === 1);
    connection.cut();
  });

  it('is not believed any more where the server takes the subscription back', async () => {
    await nats.restart({ config: config(0) });
    await until('the gateway is there', async () => (await metric('pushcluster_bus_connected')) === 1);
    const connection = await open();
    await until('it joined', async () => (await answer(connection, 'taken')) === 'OK');
    await connection.join('kept');
    await nats.reload(config(0, '"pushcluster.out.room.taken"'));
    await logicIsThere();
    await until('it is told', () => connection.left.length === 1);
    assert.equal(connection.left[0]!.room, 'taken');
    assert.equal(await answer(connection, 'taken'), 'unavailable');
    await until('it is counted', async () => (await metric('pushcluster_bus_subscriptions_refused')) === 1);
    await push('kept');
    await until('another room goes on', () => roomsOf(connection).has('kept'));
    await nats.reload(config(0));
    await until('it is granted again', async () => (await answer(connection, 'taken')) === 'OK');
    await push('taken');
    await until('its item came', () => roomsOf(connection).has('taken'));
    await until(
      'it is not counted any more',
      async () => (await metric('pushcluster_bus_subscriptions_refused')) === 0,
    );
    connection.cut();
  });

  for (const [how, away, back] of [
    ['is cut off by the network', async () => proxy.cut(), () => proxy.heal()],
    ['is killed', () => nats.kill(), () => nats.restart()],
    ['stands still', () => nats.pause(), async () => nats.resume()],
  ] as const)
    it(`does not come while the server ${how}, whether or not the room has members`, async () => {
      const [member, newcomer] = [await open(), await open()];
      await until('it joined', async () => (await answer(member, 'busy')) === 'OK');
      await away();
      const answers = await Promise.all([answer(newcomer, 'busy'), answer(newcomer, 'empty'), answer(member, 'busy')]);
      assert.deepEqual(answers, ['unavailable', 'unavailable', 'unavailable']);
      assert.equal(await gateway.probe('/readyz'), 200);
      await back();
      for (const room of ['busy', 'empty'])
        await until(`${room} is joined`, async () => (await answer(newcomer, room)) === 'OK');
      await logicIsThere();
      for (const room of ['busy', 'empty']) await push(room);
      await until('both came', () => roomsOf(newcomer).size === 2);
      await until('a member that was refused once more is still one', () => roomsOf(member).has('busy'));
      assert.ok(!roomsOf(member).has('empty'));
      for (const connection of [member, newcomer]) connection.cut();
    });
});
