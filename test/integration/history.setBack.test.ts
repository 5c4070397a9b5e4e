import assert from 'node:assert/strict';
import { after, before, it, type TestContext } from 'node:test';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const settings = { rooms: [{ match: 'live-*', history: { messages: 100 }, batching: { maxDelay: 20 } }] };
const ROOM = 'live-1';

let nats: NatsServer;
let logic: LogicProcess;
let gateway: GatewayProcess;

before(async () => {
  nats = await startNatsServer({ jetstream: true });
  const options = { nats: [nats.url], settings };
  [logic, gateway] = await Promise.all([startLogic(options), startGateway(options)]);
});
after(async () => {
  await Promise.all([logic, gateway].map((process) => process.stop()));
  await nats.stop();
});

async function push(item: number): Promise<{ epoch: string; seq: number }> {
  const { status, body } = await logic.push({ room: ROOM }, [String(item)]);
  assert.equal(status, 202, JSON.stringify(body));
  const { epoch, seq } = (body as { rooms: { epoch: string; seq: number }[] }).rooms[0]!;
  return { epoch, seq };
}

/** A page in the room: what it gets, and why it was reset. */
async function openPage(t: TestContext): Promise<{ items: unknown[]; told: string[] }> {
  const page = new PushClient(`ws://127.0.0.1:${gateway.port}/connect`);
  t.after(() => page.close());
  const items: unknown[] = [];
  const told: string[] = [];
  const room = page.join(ROOM);
  room.on('item', (item) => items.push(item));
  room.on('reset', ({ reason }) => told.push(reason));
  await room.joined;
  return { items, told };
}

it('a stream that is set back to a backup is another history: clients are told, and nobody resumes in it by the old numbers', async (t) => {
  const { items, told } = await openPage(t);
  for (let item = 0; item < 10; item++) await push(item);
  await nats.backUp();
  await nats.restart();
  const position = await push(10);
  for (let item = 11; item < 20; item++) await push(item);
  await until('the page has them', () => items.length === 20);

  await nats.restore();
  await nats.restart();
  await until('the gateway is connected', async () => (await gateway.metrics()).sum('pushcluster_bus_connected') === 1);
  const after = await push(20);
  assert.ok(after.seq <= position.seq, 'the number was given before');
  assert.notEqual(after.epoch, position.epoch);
  await push(21);
  await until('the page goes on', () => items.at(-1) === 21);
  assert.deepEqual([items.slice(20), told], [[20, 21], ['reset']], 'what is pushed from then on comes');

  const other = new PushClient(`ws://127.0.0.1:${gateway.port}/connect`);
  t.after(() => other.close());
  const again = other.join(ROOM, { since: position });
  const reset = new Promise((resolve) => again.on('reset', ({ reason }) => resolve(reason)));
  assert.equal(await reset, 'unrecovered');
});

it('a logic process that starts after a stream was set back learns from a gateway which numbers were given', async (t) => {
  const { items, told } = await openPage(t);
  await push(100);
  await nats.backUp();
  await nats.restart();
  const lost = await push(101);
  await until('the page has them', () => items.length === 2);

  await logic.kill();
  await nats.restore();
  await nats.restart();
  await until('the gateway is connected', async () => (await gateway.metrics()).sum('pushcluster_bus_connected') === 1);
  await logic.start();
  const after = await push(102);
  assert.equal(after.seq, lost.seq, 'the number was given before');
  assert.notEqual(after.epoch, lost.epoch);
  await until('the page is told', () => told.length > 0);
  await push(103);
  await until('the page goes on', () => items.at(-1) === 103);
});
