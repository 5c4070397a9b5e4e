import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import { connect } from 'nats';
import { type NatsCluster, type NatsServer, startNatsCluster } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const ROOMS = [{ match: 'live-*', history: { messages: 2_000, replicas: 3 as const }, batching: { maxDelay: 20 } }];

const STREAM = historyStream('pushcluster', 'live-*').name;

type Frame = { type: string; data: { room?: string; seq?: number; prev?: number; epoch?: string; items?: number[] } };

/** A client that keeps the frames of its room. */
class Client {
  readonly frames: Frame[] = [];
  readonly #socket: WebSocket;
  readonly #joined = Promise.withResolvers<void>();

  constructor(port: number, room: string, protocols: string[]) {
    this.#socket = new WebSocket(`ws://127.0.0.1:${port}/connect`, protocols);
    this.#socket.onopen = () => this.#socket.send(JSON.stringify({ type: 'JOIN', id: 1, data: { room } }));
    this.#socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame;
      if (frame.type === 'OK') this.#joined.resolve();
      else this.frames.push(frame);
    };
    this.#socket.onerror = () => this.#joined.reject(new Error('the connection failed'));
  }

  static async join(port: number, room: string, ...protocols: string[]): Promise<Client> {
    const client = new Client(port, room, protocols);
    await client.#joined.promise;
    return client;
  }

  get items(): number[] {
    return this.frames.flatMap(({ data }) => data.items ?? []);
  }

  close(): void {
    this.#socket.close();
  }
}

let cluster: NatsCluster;
let logics: LogicProcess[];
/** Each connects to one server first, and to others if that is gone. */
let gateways: GatewayProcess[];
let rooms = 0;

before(async () => {
  cluster = await startNatsCluster(3, { jetstream: true });
  const settings = { rooms: ROOMS, history: { publishTimeout: '60s' } };
  logics = await Promise.all([0, 1].map(() => startLogic({ nats: cluster.urls, settings })));
  gateways = await Promise.all([0, 1, 2].map(() => startGateway({ nats: cluster.urls, settings })));
});
after(async () => {
  await Promise.all([...gateways, ...logics].map((process) => process.stop()));
  await cluster.stop();
});

async function push(logic: LogicProcess, room: string, item: number): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${logic.port}/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ to: { room }, items: [item], id: `${room} ${item}` }),
  });
  assert.equal(response.status, 202, await response.text());
}

/** Pushes `from` to `to` through both pods, one after another in each. */
async function pushAll(room: string, from: number, to: number): Promise<void> {
  await Promise.all(
    logics.map(async (logic, pod) => {
      for (let item = from; item < to; item++) if (item % 2 === pod) await push(logic, room, item);
    }),
  );
}

async function history(room: string): Promise<number[]> {
  const response = await fetch(`http://127.0.0.1:${logics[0]!.port}/v1/rooms/${room}/history?limit=1000`);
  // NATS may have no leader at the moment.
  if (response.status === 503) return [];
  const { pushes } = (await response.json()) as { pushes: { items: number[] }[] };
  return pushes.flatMap(({ items }) => items);
}

/** Clients on every gateway, those of today and those that know nothing of histories. */
async function clientsOf(room: string): Promise<Client[]> {
  const joined = gateways.flatMap(({ port }) => [Client.join(port, room, 'pushcluster.v1'), Client.join(port, room)]);
  return Promise.all(joined);
}

async function assertWhole(clients: readonly Client[], room: string, count: number): Promise<void> {
  await until('everyone has everything', () => clients.every(({ items }) => items.length >= count));
  let stored: number[] = [];
  await until('the history can be read', async () => {
    stored = await history(room);
    return stored.length > 0;
  });
  assert.deepEqual(
    stored.toSorted((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i),
  );
  for (const { items, frames } of clients) {
    assert.deepEqual(items, stored, 'in the order of the history, each once');
    assert.deepEqual(
      frames.filter(({ type }) => type !== 'PUSH'),
      [],
    );
    for (const [i, { data }] of frames.entries()) if (i > 0) assert.equal(data.prev, frames[i - 1]!.data.seq);
    assert.equal(new Set(frames.map(({ data }) => data.epoch)).size, 1);
  }
  for (const client of clients) client.close();
}

/** The server that leads the stream. */
async function leaderOf(servers: readonly NatsServer[]): Promise<NatsServer> {
  let leader: NatsServer | undefined;
  await until('the stream has a leader', async () => {
    for (const { monitorUrl } of servers) {
      const json = await (await fetch(`${monitorUrl}/jsz?streams=true`)).text();
      const name = /"stream_detail".*?"leader":\s*"(n\d)"/s.exec(json)?.[1];
      leader = name === undefined ? undefined : servers[Number(name.slice(1))];
      if (leader) return true;
    }
    return false;
  });
  return leader!;
}

describe('clients in a room with a history get every push, once and in order', () => {
  it('in frames that say where they are', async () => {
    const room = `live-${++rooms}`;
    const clients = await clientsOf(room);
    await pushAll(room, 0, 60);
    await assertWhole(clients, room, 60);
  });

  it('where the leader of the stream is killed under load', async (t) => {
    for (let round = 0; round < 3; round++) {
      const room = `live-${++rooms}`;
      const clients = await clientsOf(room);
      await pushAll(room, 0, 20);
      const leader = await leaderOf(cluster.servers);
      const pushed = pushAll(room, 20, 200);
      await until('some are stored', async () => (await history(room)).length > 60);
      await leader.kill();
      await pushed;
      await leader.restart();
      await cluster.formed();
      await assertWhole(clients, room, 200);
    }
    t.diagnostic(`recovered: ${await recovered()}`);
  });

  it('where each server stands still for a while, and goes on', async (t) => {
    const room = `live-${++rooms}`;
    const clients = await clientsOf(room);
    await pushAll(room, 0, 20);
    const pushed = pushAll(room, 20, 200);
    for (const server of cluster.servers) {
      const before = (await history(room)).length;
      await server.pause();
      // Longer than a leader may be silent, or until others go on without it.
      const moved = async () => (await history(room)).length > before + 10;
      await until('others go on, or all is pushed', async () => (await moved()) || (await isDone(pushed)));
      server.resume();
    }
    await pushed;
    await assertWhole(clients, room, 200);
    t.diagnostic(`recovered: ${await recovered()}`);
  });

  it('where the servers of gateways are killed, until some had to be read from the store', async (t) => {
    const before = sum(await recovered());
    for (let round = 0; sum(await recovered()) === before; round++) {
      assert.ok(round < 20, 'no gateway ever missed anything: this test shows nothing');
      const room = `live-${++rooms}`;
      const clients = await clientsOf(room);
      const victim = await follower();
      let killed = false;
      let count = 0;
      // Until the gateways are back, and some more.
      const pushed = (async () => {
        for (let after = 0; after < 5; after += killed ? 1 : 0) {
          const from = count;
          count += 40;
          await pushBatch(room, from, count);
        }
      })();
      await until('some are stored', async () => (await history(room)).length > 40);
      await victim.kill();
      killed = true;
      await pushed;
      await victim.restart();
      await cluster.formed();
      await assertWhole(clients, room, count);
    }
    t.diagnostic(`recovered: ${await recovered()}`);
  });
});

/** A server that gateways are connected to and that does not lead the stream: while it is killed, pushes go on. */
async function follower(): Promise<NatsServer> {
  let found: NatsServer | undefined;
  await until('a server with gateways does not lead the stream', async () => {
    const leader = await leaderOf(cluster.servers);
    const serving = await Promise.all(cluster.servers.map(servesGateways));
    found = cluster.servers.find((server, i) => server !== leader && serving[i]);
    if (found === undefined) await stepDown();
    return found !== undefined;
  });
  return found!;
}

/** Another server becomes the leader of the stream. */
async function stepDown(): Promise<void> {
  const connection = await connect({ servers: cluster.urls });
  await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${STREAM}`, '', { timeout: 5_000 });
  await connection.close();
}

async function servesGateways({ monitorUrl }: NatsServer): Promise<boolean> {
  return (await (await fetch(`${monitorUrl}/connz`)).text()).includes('pushcluster-gateway');
}

/** Pushes `from` to `to` in one request. */
async function pushBatch(room: string, from: number, to: number): Promise<void> {
  const pushes = Array.from({ length: to - from }, (_, i) => ({
    ...{ to: { room }, items: [from + i], id: `${room} ${from + i}` },
  }));
  const response = await fetch(`http://127.0.0.1:${logics[0]!.port}/v1/push/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(pushes),
  });
  const answers = (await response.json()) as { status: number }[];
  assert.deepEqual(
    answers.filter(({ status }) => status !== 202),
    [],
  );
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

async function isDone(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(() => true),
    new Promise<boolean>((resolve) => setImmediate(() => resolve(false))),
  ]);
}

/** Messages that gateways read from the store, since NATS had not delivered them. */
async function recovered(): Promise<number[]> {
  return Promise.all(
    gateways.map(async (gateway) => (await gateway.metrics()).sum('pushcluster_gateway_recovered_messages_total')),
  );
}
