import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { ascends, Ledger, type Place, type Writer } from '../harness/ledger.ts';
import { type NatsCluster, type NatsServer, startNatsCluster, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { hs256, secondsFromNow } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

const SECRET = 'the secret of the pipeline test';
const ROOMS = ['r0', 'r1', 'r2', 'a room with spaces', '房间 🎈'];
const folder = mkdtempSync(join(tmpdir(), 'pushcluster-pipeline-'));
const secretFile = join(folder, 'secret');

before(() => writeFileSync(secretFile, SECRET));
after(() => rmSync(folder, { recursive: true }));

/** Two logic and three gateway processes of two shards, with merging on. */
class Pipeline {
  readonly gateways: GatewayProcess[];
  readonly logics: LogicProcess[];

  constructor(gateways: GatewayProcess[], logics: LogicProcess[]) {
    this.gateways = gateways;
    this.logics = logics;
  }

  static async start(urls: readonly string[]): Promise<Pipeline> {
    const settings = {
      gateway: { shards: 2, batching: { maxDelay: 250, adaptive: false } },
      auth: { jwt: { secretFile }, anonymous: true },
    };
    // Each has another server of a cluster as its first.
    const nats = (i: number) => [urls[i % urls.length]!, ...urls];
    const [logics, gateways] = await Promise.all([
      Promise.all([0, 1].map((i) => startLogic({ nats: nats(i) }))),
      Promise.all([0, 1, 2].map((i) => startGateway({ settings, nats: nats(i) }))),
    ]);
    return new Pipeline(gateways, logics);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.gateways, ...this.logics].map((process) => process.stop()));
  }

  /** `perForm` connections of each wire form on each gateway, every one in one to three rooms, every third one a user's. */
  async connect(perForm: number): Promise<Connection[]> {
    const connections: Connection[] = [];
    for (const { port } of this.gateways)
      for (const form of WIRE_FORMS)
        for (let i = 0; i < perForm; i++) {
          const user = i % 3 === 0 ? `user${i}` : undefined;
          const token = user === undefined ? {} : { user, token: tokenOf(user) };
          connections.push(await Connection.open({ port, form, ...token }));
        }
    await Promise.all(
      connections.map(async (connection, i) => {
        for (let k = 0; k <= i % 3; k++) await connection.join(ROOMS[(i + k) % ROOMS.length]!);
      }),
    );
    return connections;
  }

  /** One writer through each logic process to each of `places`. */
  writers(ledger: Ledger, places: readonly Place[]): Writer[] {
    return this.logics.flatMap((logic, l) => places.map((place, p) => ledger.writer(`logic${l}-${p}`, place, logic)));
  }
}

const PLACES: Place[] = [...ROOMS.map((room) => ({ room })), { all: true }, { user: 'user0' }, { user: 'user3' }];

describe('the pipeline with one nats-server', () => {
  let nats: NatsServer;
  let pipeline: Pipeline;
  before(async () => {
    nats = await startNatsServer();
    pipeline = await Pipeline.start([nats.url]);
  });
  after(async () => {
    await pipeline.stop();
    await nats.stop();
  });

  it('brings every item to every connection once and in order, across gateways, while others come and go', async (t) => {
    const connections = await pipeline.connect(30);
    const ledger = new Ledger();
    const writers = pipeline.writers(ledger, PLACES);
    let writing = true;
    const visitors = pipeline.gateways.flatMap(({ port }) =>
      WIRE_FORMS.flatMap((form) => [0, 1].map((i) => visit(port, form, ROOMS[i]!, ledger, () => writing))),
    );
    await Promise.all(writers.map((writer, i) => write(writer, 120, i)));
    writing = false;
    const visits = await Promise.all(visitors);
    await ledger.settle(t, connections);
    t.diagnostic(`${visits.reduce((sum, count) => sum + count, 0)} visits of others meanwhile`);
    assert.ok(visits.every((count) => count > 0));
    assert.equal(connections.filter(({ closed }) => closed !== undefined).length, 0);
    assert.equal(connections.filter((connection) => connection.told() > 0).length, 0, 'nothing was lost');
    const merged = connections.reduce((sum, { received, frames }) => sum + received / frames, 0) / connections.length;
    t.diagnostic(`${merged.toFixed(1)} items in a frame on average`);
    assert.ok(merged > 2, 'items were merged');
    assert.ok(
      connections.some(({ binaryFrames }) => binaryFrames > 0),
      'frames were compressed',
    );
    cutAll(connections);
  });

  it('brings items out byte for byte in all wire forms', async () => {
    const connections = await Promise.all(
      pipeline.gateways.flatMap(({ port }) =>
        WIRE_FORMS.map((form) => Connection.open({ port, form, keepItems: true })),
      ),
    );
    for (const connection of connections) await connection.join('bytes');
    const items = exactItems();
    // Through both: in one push, and one by one.
    const list = `[ ${items.join(' ,\n\t')} ]`;
    const first = await pipeline.logics[0]!.push({ room: 'bytes' }, list);
    assert.equal(first.status, 202, JSON.stringify(first.body));
    await until('the first came', () => connections.every((connection) => connection.items.length === items.length));
    for (const item of items) {
      const answer = await pipeline.logics[1]!.push({ room: 'bytes' }, [item]);
      assert.equal(answer.status, 202, `${JSON.stringify(answer.body)} for ${item.slice(0, 60)}`);
    }
    await until('all came', () => connections.every((connection) => connection.items.length >= 2 * items.length));
    for (const { items: got } of connections)
      assert.deepEqual(
        got.map(({ text }) => text),
        [...items, ...items],
      );
    cutAll(connections);
  });
});

describe('the pipeline with a cluster of three nats-servers', () => {
  let cluster: NatsCluster;
  let pipeline: Pipeline;
  before(async () => {
    cluster = await startNatsCluster(3);
    pipeline = await Pipeline.start(cluster.urls);
  });
  after(async () => {
    await pipeline.stop();
    await cluster.stop();
  });

  it('accounts for every item when one nats-server is killed half-way', async (t) => {
    const connections = await pipeline.connect(15);
    const ledger = new Ledger();
    // What the bus loses of a user's items can be told to nobody: nobody knows whose they were.
    const places = PLACES.filter((place) => !('user' in place));
    const writers = pipeline.writers(ledger, places);
    let rounds = 0;
    const writing = writers.map((writer, i) => write(writer, 150, i, () => rounds++));
    await until('writing is half-way', () => rounds > (writers.length * 150) / 2, 180_000);
    await (await busiest(cluster)).kill();
    await Promise.all(writing);
    for (const process of [...pipeline.logics, ...pipeline.gateways])
      await until(
        'all are connected to the bus',
        async () => (await process.metrics()).sum('pushcluster_bus_connected') === 1,
      );
    await until('logic takes pushes again', async () => (await writers[0]!.push(1)).status === 202);
    await ledger.settle(t, connections, { lossy: true });
    assert.equal(connections.filter(({ closed }) => closed !== undefined).length, 0, 'connections stay');
    cutAll(connections);
  });
});

/** Pushes `rounds` times: bursts of one to eight items, now and then larger ones. */
async function write(writer: Writer, rounds: number, seed: number, done: () => void = () => {}): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const size = (round + seed) % 40 === 0 ? 8_000 : ((round * 37 + seed) % 200) + 1;
    const { status } = await writer.push(1 + ((round + seed) % 8), size);
    done();
    // A backend that is told 503 waits a little.
    if (status === 503) await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * Someone who comes, joins a room, stays for a while, leaves it, joins again and goes, over and over. From the moment of an
 * OK until LEAVE nothing is missing: what was pushed after the OK comes without a gap.
 */
async function visit(
  port: number,
  form: Connection['form'],
  room: string,
  ledger: Ledger,
  goOn: () => boolean,
): Promise<number> {
  let visits = 0;
  while (goOn()) {
    const connection = await Connection.open({ port, form });
    for (let stay = 0; stay < 2 && goOn(); stay++) {
      await connection.join(room);
      const writers = ledger.writers.filter((writer) => writer.room === room);
      const since = new Map(writers.map(({ name, next }) => [name, next]));
      const enough = connection.received + 30;
      await until('some items came', () => connection.received >= enough || !goOn());
      await connection.leave(room);
      visits++;
      for (const { name } of writers) {
        const { numbers = [] } = connection.tallies.get(`${name}\n${room}`) ?? {};
        const fromOk = since.get(name)!;
        assert.ok(ascends(numbers), `${name} in order for a visitor`);
        const got = numbers.filter((n) => n >= fromOk);
        const expected = got.map((_, i) => fromOk + i);
        assert.deepEqual(got, expected, `${name} without a gap from the OK of JOIN (${fromOk}) on`);
      }
      connection.tallies.clear();
    }
    if (visits % 2 === 0) connection.close();
    else connection.cut();
  }
  return visits;
}

/** Of a cluster's servers the one with the most clients. */
async function busiest(cluster: NatsCluster): Promise<NatsServer> {
  const loads = await Promise.all(
    cluster.servers.map(async (server) => {
      const answer: unknown = await (await fetch(`${server.monitorUrl}/connz`)).json();
      return { server, clients: Number(/"num_connections":(\d+)/.exec(JSON.stringify(answer))?.[1]) };
    }),
  );
  return loads.reduce((most, load) => (load.clients > most.clients ? load : most)).server;
}

function tokenOf(user: string): string {
  return hs256(SECRET, { sub: user, exp: secondsFromNow(3_600) });
}

/** JSON texts that any parsing and writing anew would change, or that are at a limit. */
function exactItems(): string[] {
  const kib32 = 32_768;
  return [
    '1',
    '0',
    '12345678901234567890.10',
    '-0.0',
    '1E400',
    '1e-999',
    '0.1000000000000000055511151231257827021181583404541015625',
    'true',
    'null',
    '""',
    '[]',
    '{}',
    '{ "a" :\t1 ,\r\n"a": 2 }',
    '[ 1,2 , [ ] ]',
    '"\\u00e9 \\/ \\b\\f\\n\\r\\t \\" \\\\"',
    '"\\ud83d\\ude00 😀 👩‍👩‍👧‍👦 é ü 弹幕 \u2028\u2029"',
    '"\\ud800 alone, and \\udfff"',
    '"]}}, [{ \\"items\\":[1,2"',
    '{"__proto__":{"x":1},"constructor":null}',
    `"${'x'.repeat(kib32 - 2)}"`,
    `"${'é'.repeat((kib32 - 2) / 2)}"`,
    `[${'1,'.repeat(kib32 / 2 - 2)}1 ]`,
  ];
}
