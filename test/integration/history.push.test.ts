import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startApi } from '../harness/api.ts';
import { Connection } from '../harness/connection.ts';
import { type NatsServer, startNatsCluster, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const ROOMS = [
  { match: 'live-*', history: { messages: 50 } },
  { match: 'short-*', history: { messages: 3 } },
];

const CLUSTERED = [{ match: 'live-*', history: { messages: 1_000, replicas: 3 as const } }];

type Position = { room: string; seq: number; epoch: string };
type Answer = { status: number; body: { accepted?: number; rooms?: Position[]; code?: string; failed?: object[] } };
type History = { epoch: string; pushes: { seq: number; at: string; items: unknown[] }[] };

let rooms = 0;
/** A room of its own for each test. */
const newRoom = (kind = 'live') => `${kind}-${++rooms}`;

async function push({ port }: { port: number }, to: object, items: string[], id?: string): Promise<Answer> {
  const body = `{"to":${JSON.stringify(to)},"items":[${items}]${id ? `,"id":${JSON.stringify(id)}` : ''}}`;
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`http://127.0.0.1:${port}/v1/push`, { method: 'POST', headers, body });
  return { status: response.status, body: (await response.json()) as Answer['body'] };
}

/** Stores a push, and returns its position. */
async function store(logic: { port: number }, room: string, items: string[], id?: string): Promise<Position> {
  const { status, body } = await push(logic, { room }, items, id);
  assert.equal(status, 202, JSON.stringify(body));
  assert.equal(body.rooms?.length, 1);
  return body.rooms[0]!;
}

async function get({ port }: { port: number }, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: response.status, text: await response.text() };
}

async function historyOf(logic: { port: number }, room: string, query = ''): Promise<History> {
  const { status, text } = await get(logic, `/v1/rooms/${encodeURIComponent(room)}/history${query}`);
  assert.equal(status, 200, text);
  return JSON.parse(text) as History;
}

const textsOf = ({ items }: Connection) => items.map(({ text }) => text);
const itemsOf = ({ pushes }: History) => pushes.flatMap(({ items }) => items);

describe('pushes to rooms with a history', () => {
  let nats: NatsServer;
  let logics: LogicProcess[];
  let gateway: GatewayProcess;
  before(async () => {
    nats = await startNatsServer({ jetstream: true });
    const options = { nats: [nats.url], settings: { rooms: ROOMS, history: { publishTimeout: '30s' } } };
    [gateway, ...logics] = await Promise.all([startGateway(options), startLogic(options), startLogic(options)]);
  });
  after(async () => {
    await Promise.all([gateway, ...logics].map((process) => process.stop()));
    await nats.stop();
  });

  it('are answered with their position, and delivered', async () => {
    const room = newRoom();
    const client = await Connection.open({ port: gateway.port, keepItems: true });
    await client.join(room);
    const positions = [await store(logics[0]!, room, ['1', '"two"']), await store(logics[1]!, room, ['{"three":3}'])];
    assert.ok(positions[0]!.seq < positions[1]!.seq);
    assert.deepEqual(
      positions.map((position) => position.room),
      [room, room],
    );
    assert.equal(positions[0]!.epoch, positions[1]!.epoch);
    await until('all items have arrived', () => client.items.length === 3);
    assert.deepEqual(textsOf(client), ['1', '"two"', '{"three":3}']);
    client.cut();
  });

  it('are one push however often they are tried, by whichever pod', async () => {
    const room = newRoom();
    const client = await Connection.open({ port: gateway.port, keepItems: true });
    await client.join(room);
    const first = await store(logics[0]!, room, ['"once"'], 'the same');
    assert.deepEqual(await store(logics[1]!, room, ['"once"'], 'the same'), first);
    assert.deepEqual(await store(logics[0]!, room, ['"once"'], 'the same'), first);
    await store(logics[1]!, room, ['"last"']);
    await until('the last has arrived', () => textsOf(client).includes('"last"'));
    assert.deepEqual(textsOf(client), ['"once"', '"last"']);
    assert.deepEqual(client.lags, []);
    assert.deepEqual(itemsOf(await historyOf(logics[0]!, room)), ['once', 'last']);
    // The same id to another room is another push.
    assert.notEqual((await store(logics[0]!, newRoom(), ['"once"'], 'the same')).seq, first.seq);
    client.cut();
  });

  it('are one push also where limits have removed it before it is tried again', async () => {
    const room = newRoom('short');
    const first = await store(logics[0]!, room, ['1'], 'removed');
    for (const item of ['2', '3', '4']) await store(logics[0]!, room, [item]);
    for (const logic of logics) assert.deepEqual(await store(logic, room, ['1'], 'removed'), first);
    assert.deepEqual(itemsOf(await historyOf(logics[0]!, room)), [2, 3, 4]);
  });

  it('to several rooms name the positions of those that have one', async () => {
    const [one, two] = [newRoom(), newRoom()];
    const { status, body } = await push(logics[0]!, { rooms: [one, 'plain', two] }, ['1']);
    assert.equal(status, 202);
    assert.deepEqual(
      body.rooms?.map(({ room }) => room),
      [one, two],
    );
    const plain = await push(logics[0]!, { room: 'plain' }, ['1']);
    assert.deepEqual(plain, { status: 202, body: { accepted: 1 } });
  });

  it('keep the order of one pod, however many are sent at once', async () => {
    const room = newRoom();
    const texts = Array.from({ length: 40 }, (_, i) => String(i));
    const body = JSON.stringify(texts.map((text) => ({ to: { room }, items: [Number(text)] })));
    const response = await fetch(`http://127.0.0.1:${logics[0]!.port}/v1/push/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    const answers = (await response.json()) as { status: number; rooms: Position[] }[];
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([202]));
    const seqs = answers.map(({ rooms: [position] }) => position!.seq);
    assert.deepEqual(
      seqs,
      seqs.toSorted((a, b) => a - b),
    );
    assert.deepEqual(itemsOf(await historyOf(logics[1]!, room)), texts.map(Number));
  });

  it('wait until NATS is back, in their order, and none is stored twice', async () => {
    const room = newRoom();
    await store(logics[0]!, room, ['"before"']);
    await nats.kill();
    const pushes = Array.from({ length: 20 }, (_, i) => store(logics[i % 2]!, room, [`${i}`], `outage ${i}`));
    await nats.restart();
    const positions = await Promise.all(pushes);
    const items = itemsOf(await historyOf(logics[0]!, room));
    assert.deepEqual(items.toSorted(), ['before', ...Array.from({ length: 20 }, (_, i) => i)].toSorted());
    for (const pod of [0, 1])
      assert.deepEqual(
        items.filter((item) => typeof item === 'number' && item % 2 === pod),
        Array.from({ length: 10 }, (_, i) => 2 * i + pod),
      );
    assert.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1);
  });

  describe('can be read', () => {
    it('by pages, the newest first, each in order', async () => {
      const room = newRoom();
      for (let i = 0; i < 12; i++) await store(logics[0]!, room, [`${i}`]);
      const newest = await historyOf(logics[1]!, room, '?limit=5');
      assert.deepEqual(itemsOf(newest), [7, 8, 9, 10, 11]);
      const older = await historyOf(logics[1]!, room, `?limit=5&before=${newest.pushes[0]!.seq}`);
      assert.deepEqual(itemsOf(older), [2, 3, 4, 5, 6]);
      assert.equal(older.epoch, newest.epoch);
      const oldest = await historyOf(logics[1]!, room, `?limit=5&before=${older.pushes[0]!.seq}`);
      assert.deepEqual(itemsOf(oldest), [0, 1]);
      assert.ok(Math.abs(Date.parse(oldest.pushes[0]!.at) - Date.now()) < 600_000, oldest.pushes[0]!.at);
    });

    it('as they were pushed, byte for byte', async () => {
      const room = newRoom();
      const items = ['9007199254740993', '1e400', '{"b":1,"a":1.0}', '"\\u00e9"'];
      const { seq, epoch } = await store(logics[0]!, room, items);
      const { text } = await get(logics[0]!, `/v1/history?room=${room}`);
      const at = /"at":"([^"]+)"/.exec(text)?.[1];
      assert.equal(
        text,
        `{"room":"${room}","epoch":"${epoch}","pushes":[{"seq":${seq},"at":"${at}","items":[${items}]}]}`,
      );
    });

    it('as far as the limits of their policy reach', async () => {
      const room = newRoom('short');
      for (let i = 0; i < 5; i++) await store(logics[0]!, room, [`${i}`]);
      assert.deepEqual(itemsOf(await historyOf(logics[0]!, room)), [2, 3, 4]);
      assert.deepEqual(itemsOf(await historyOf(logics[0]!, newRoom('short'))), []);
    });

    it('only of rooms that have one, and with parameters that are right', async () => {
      const code = ({ status, text }: { status: number; text: string }) => [status, JSON.parse(text).code];
      assert.deepEqual(code(await get(logics[0]!, '/v1/rooms/plain/history')), [404, 'no_history']);
      for (const query of ['limit=0', 'limit=1001', 'before=0', 'before=x', 'after=1'])
        assert.deepEqual(code(await get(logics[0]!, `/v1/rooms/live-1/history?${query}`)), [400, 'invalid_request']);
    });
  });
});

describe('a history in the memory of one process', () => {
  it('is stored to and read in the same way', async (t) => {
    const api = await startApi(t, { rooms: ROOMS });
    const first = await store(api, 'live-x', ['1'], 'id');
    assert.deepEqual(await store(api, 'live-x', ['1'], 'id'), first);
    await store(api, 'live-x', ['2']);
    assert.deepEqual(itemsOf(await historyOf(api, 'live-x')), [1, 2]);
  });
});

describe('without NATS', () => {
  it('a push to a room with a history is refused after its time: it is stored nowhere', async (t) => {
    const nats = await startNatsServer({ jetstream: true });
    const settings = { rooms: ROOMS, history: { publishTimeout: '1s' } };
    const logic = await startLogic({ nats: [nats.url], settings });
    t.after(async () => {
      await logic.stop();
      await nats.stop();
    });
    await store(logic, 'live-1', ['1']);
    await nats.kill();
    await until('it is refused as not sent', async () => {
      const { status, body } = await push(logic, { room: 'live-1' }, ['2']);
      assert.equal(status, 503);
      return body.code === 'bus_unavailable';
    });
  });

  it('that stores streams, pushes to rooms with a history are refused, and others are delivered', async (t) => {
    const nats = await startNatsServer();
    const settings = { rooms: ROOMS, history: { publishTimeout: '500ms' } };
    const logic = await startLogic({ nats: [nats.url], settings });
    t.after(async () => {
      await logic.stop();
      await nats.stop();
    });
    const { status, body } = await push(logic, { rooms: ['live-1', 'plain'] }, ['1']);
    assert.equal(status, 207);
    assert.deepEqual(body.failed, [{ room: 'live-1', code: 'bus_unavailable' }]);
  });
});

describe('a logic pod whose NATS does not store', () => {
  it('says so in its status, with the answer of NATS, until NATS does', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'pushcluster-history-'));
    const server = await startNatsServer({});
    const rooms = (replicas: 1 | 3) => ({ rooms: [{ match: 'live-*', history: { replicas } }] });
    const logic = await startLogic({ nats: [server.url], settings: rooms(3) });
    t.after(async () => {
      await logic.stop();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    });
    const failed = async () => (await logic.status())?.historyFailed;
    await until('it says so', async () => (await failed()) !== undefined);
    assert.match((await failed()) ?? '', /^rooms "live-\*": .*\$JS\.API\.STREAM\.INFO/);
    await server.restart({ config: `jetstream { store_dir: ${JSON.stringify(folder)} }` });
    await until('there is another reason', async () => /replicas > 1 not supported/.test((await failed()) ?? ''));
    await logic.configure(rooms(1));
    await until('it says so no more', async () => (await failed()) === undefined);
  });
});

describe('a cluster of three NATS servers', () => {
  it('loses its leader while pushes are under way: all are stored, once, and in order', async (t) => {
    const cluster = await startNatsCluster(3, { jetstream: true });
    const options = { nats: cluster.urls, settings: { rooms: CLUSTERED, history: { publishTimeout: '60s' } } };
    const logics = await Promise.all([startLogic(options), startLogic(options)]);
    t.after(async () => {
      await Promise.all(logics.map((logic) => logic.stop()));
      await cluster.stop();
    });
    const pushed: number[] = [];
    const answers: Promise<Position>[] = [];
    const pushSome = (count: number) => {
      for (let i = 0; i < count; i++) {
        const number = pushed.length;
        pushed.push(number);
        answers.push(store(logics[number % 2]!, 'live-1', [`${number}`], `id ${number}`));
      }
    };
    pushSome(10);
    await Promise.all(answers);
    const leader = await leaderOf(cluster.servers);
    pushSome(50);
    await leader.kill();
    pushSome(50);
    const positions = await Promise.all(answers);
    await leader.restart();
    assert.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1);
    const read = await historyOf(logics[0]!, 'live-1', '?limit=1000');
    const items = itemsOf(read) as number[];
    assert.deepEqual(
      items.toSorted((a, b) => a - b),
      pushed,
      'each once',
    );
    for (const pod of [0, 1]) {
      const own = items.filter((item) => item % 2 === pod);
      assert.deepEqual(
        own,
        own.toSorted((a, b) => a - b),
        'in the order of its pod',
      );
    }
    assert.deepEqual(
      positions.map(({ seq }) => seq).toSorted((a, b) => a - b),
      read.pushes.map(({ seq }) => seq),
    );
  });
});

/** The server that leads the only stream. */
async function leaderOf(servers: readonly NatsServer[]): Promise<NatsServer> {
  let leader: NatsServer | undefined;
  await until('the stream has a leader', async () => {
    for (const server of servers) {
      const response = await fetch(`${server.monitorUrl}/jsz?streams=true`);
      const found = (await response.json()) as {
        account_details?: { stream_detail?: { cluster?: { leader?: string } }[] }[];
      };
      const name = found.account_details?.[0]?.stream_detail?.[0]?.cluster?.leader;
      leader = servers.find((_, i) => name === `n${i}`);
      if (leader) return true;
    }
    return false;
  });
  return leader!;
}
