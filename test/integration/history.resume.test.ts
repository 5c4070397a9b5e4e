import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const ROOMS = [
  { match: 'live-*', history: { messages: 2_000 }, batching: { maxDelay: 20 } },
  { match: 'long-*', history: { messages: 5_000 }, batching: { maxItems: 100 } },
  { match: 'short-*', history: { messages: 5 }, batching: { maxDelay: 20 } },
];

type Data = {
  room?: string;
  seq?: number;
  prev?: number;
  epoch?: string;
  recovered?: boolean;
  items?: unknown[];
  code?: string;
};
type Frame = { type: string; id?: number; data: Data };
type From = { since?: { epoch: string; seq: number }; last?: number; away?: number };

/** A client of today, which keeps all frames. */
class Client {
  readonly frames: Frame[] = [];
  /** Of each PUSH: how it came, and how large it is. */
  readonly pushes: { isBinary: boolean; bytes: number; items: number }[] = [];
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, (frame: Frame) => void>();
  #ids = 0;

  constructor(port: number, ...protocols: string[]) {
    this.#socket = new WebSocket(`ws://127.0.0.1:${port}/connect`, protocols);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = ({ data }) => {
      const isBinary = data instanceof ArrayBuffer;
      const text = isBinary ? inflateRawSync(data).toString() : String(data);
      const frame = JSON.parse(text) as Frame;
      if (frame.type === 'PUSH') this.pushes.push({ isBinary, bytes: text.length, items: frame.data.items!.length });
      this.frames.push(frame);
      if (frame.id !== undefined) this.#answers.get(frame.id)?.(frame);
    };
  }

  static async open(port: number, ...protocols: string[]): Promise<Client> {
    const client = new Client(port, ...protocols);
    await new Promise<void>((resolve, reject) => {
      client.#socket.onopen = () => resolve();
      client.#socket.onerror = () => reject(new Error('the connection failed'));
    });
    return client;
  }

  /** JOINs and waits for the answer. */
  join(room: string, from: From = {}): Promise<Frame> {
    const id = ++this.#ids;
    this.#socket.send(JSON.stringify({ type: 'JOIN', id, data: { room, ...from } }));
    return new Promise((resolve) => this.#answers.set(id, resolve));
  }

  get items(): unknown[] {
    return this.frames.flatMap(({ data }) => data.items ?? []);
  }

  /** That all that came belongs together: each frame follows the one before. */
  assertChained(from?: number): void {
    const pushes = this.frames.filter(({ type }) => type === 'PUSH');
    let last = from;
    for (const { data } of pushes) {
      if (last !== undefined) assert.equal(data.prev, last);
      last = data.seq;
    }
  }

  close(): void {
    this.#socket.close();
  }
}

let nats: NatsServer;
let logic: LogicProcess;
let gateways: GatewayProcess[];
let noise: Promise<void>;
let noisy = true;
let rooms = 0;
const newRoom = (kind = 'live') => `${kind}-${++rooms}`;

before(async () => {
  nats = await startNatsServer({ jetstream: true });
  const options = { nats: [nats.url], settings: { rooms: ROOMS, gateway: { shards: 2 } } };
  [logic, ...gateways] = await Promise.all([startLogic(options), startGateway(options), startGateway(options)]);
  // Other rooms of the same streams take numbers in between.
  noise = (async () => {
    for (let i = 0; noisy; i++) await push(`${i % 2 === 0 ? 'live' : 'short'}-noise-${i % 5}`, i);
  })();
});
after(async () => {
  noisy = false;
  await noise;
  await Promise.all([...gateways, logic].map((process) => process.stop()));
  await nats.stop();
});

/** Pushes items one by one; returns the position of the last. */
async function push(room: string, ...items: unknown[]): Promise<{ epoch: string; seq: number }> {
  const response = await fetch(`http://127.0.0.1:${logic.port}/v1/push/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(items.map((item) => ({ to: { room }, items: [item] }))),
  });
  const answers = (await response.json()) as { status: number; rooms: { epoch: string; seq: number }[] }[];
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [202]);
  const { epoch, seq } = answers.at(-1)!.rooms[0]!;
  return { epoch, seq };
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const V1 = 'pushcluster.v1';

describe('a JOIN of a room with history', () => {
  it('says where the room is', async () => {
    const room = newRoom();
    const last = await push(room, 1, 2, 3);
    for (const protocols of [[V1], []]) {
      const client = await Client.open(gateways[0]!.port, ...protocols);
      const { type, data } = await client.join(room);
      assert.deepEqual([type, data], ['OK', { room, ...last }]);
      const next = await push(room, 4);
      await until('the next one comes', () => client.items.length > 0);
      const frame = client.frames.at(-1)!.data;
      assert.deepEqual([frame.seq, frame.epoch, frame.prev], [next.seq, next.epoch, last.seq]);
      last.seq = next.seq;
      client.close();
    }
  });

  it('brings what was missed since a position, then what comes, on the gateway of before and on another', async () => {
    const room = newRoom();
    const watcher = await Client.open(gateways[0]!.port, V1);
    await watcher.join(room);
    const position = await push(room, ...numbers(0, 10));
    await push(room, ...numbers(10, 60));
    await until('the watcher has all', () => watcher.items.length === 60);
    for (const { port } of gateways)
      for (const protocols of [[V1], []]) {
        const client = await Client.open(port, ...protocols);
        const { data } = await client.join(room, { since: position });
        assert.deepEqual([data.recovered, data.epoch], [true, position.epoch]);
        await until('it has what it missed', () => client.items.length >= 50);
        assert.deepEqual(client.items, numbers(10, 60));
        client.assertChained(position.seq);
        client.close();
      }
    watcher.close();
  });

  it('brings it under load, with nothing missed, twice or out of order', async () => {
    const room = newRoom();
    const first = await push(room, 0);
    let count = 1;
    const pushed = (async () => {
      for (; count < 600; count += 10) await push(room, ...numbers(count, count + 10));
    })();
    const clients: Client[] = [];
    while (count < 600) {
      const client = await Client.open(gateways[clients.length % 2]!.port, V1);
      clients.push(client);
      assert.equal((await client.join(room, { since: first })).data.recovered, true);
    }
    await pushed;
    await until('everyone has everything', () => clients.every(({ items }) => items.length >= count - 1));
    for (const client of clients) {
      assert.deepEqual(client.items, numbers(1, count));
      client.assertChained(first.seq);
      client.close();
    }
  });

  it('of more than fits into one answer brings it all', async () => {
    const room = newRoom();
    const first = await push(room, 0);
    const large = (i: number) => `${i}`.padEnd(20_000, '.');
    for (let i = 1; i <= 60; i += 20) await push(room, ...numbers(i, i + 20).map(large));
    for (const { port } of gateways) {
      const client = await Client.open(port, V1);
      assert.equal((await client.join(room, { since: first })).data.recovered, true);
      await until('it has everything', () => client.items.length >= 60);
      await push(room, 'end');
      await until('it has what came later', () => client.items.includes('end'));
      assert.deepEqual(client.items.slice(0, 60), numbers(1, 61).map(large));
      client.assertChained(first.seq);
      client.close();
    }
  });

  it('brings the last pushes', async () => {
    const room = newRoom();
    await push(room, ...numbers(0, 30));
    for (const { port } of gateways) {
      const client = await Client.open(port, V1);
      const { data } = await client.join(room, { last: 7 });
      assert.equal(data.recovered, true);
      await until('they have come', () => client.items.length >= 7);
      assert.deepEqual(client.items, numbers(23, 30));
      client.close();
    }
    const empty = await Client.open(gateways[0]!.port, V1);
    assert.deepEqual((await empty.join(newRoom(), { last: 7 })).data.recovered, true);
    assert.deepEqual(empty.items, []);
    empty.close();
  });

  it('brings the last pushes of a quiet room to many with two reads', async () => {
    const room = newRoom('long');
    for (let i = 0; i < 5; i++) await push(room, ...numbers(i * 1_000, (i + 1) * 1_000));
    const { port } = gateways[0]!;
    const reads = async () => (await gateways[0]!.metrics()).sum('pushcluster_gateway_history_reads_total');
    const before = await reads();
    const clients = await Promise.all(numbers(0, 30).map(() => Client.open(port, V1)));
    await Promise.all(clients.map((client) => client.join(room, { last: 50 })));
    await until('they have come', () => clients.every(({ items }) => items.length >= 50));
    for (const { items } of clients) assert.deepEqual(items, numbers(4_950, 5_000));
    // Other rooms have pushes in between: a guess more may be needed.
    const read = (await reads()) - before;
    assert.ok(read <= 4, `${read} reads`);
    for (const client of clients) client.close();
  });

  it('brings what was missed in frames like new ones: compressed where those are, with as many items at most', async () => {
    const room = newRoom('long');
    const first = await push(room, 0);
    const text = 'always the same '.repeat(20);
    for (let i = 0; i < 3; i++) await push(room, ...numbers(0, 500).map(() => text));
    for (const protocol of [V1, 'pushcluster.v1.deflate']) {
      const client = await Client.open(gateways[1]!.port, protocol);
      assert.equal((await client.join(room, { since: first })).data.recovered, true);
      await until('it has come', () => client.items.length >= 1_500);
      client.assertChained(first.seq);
      const isBinary = protocol !== V1;
      assert.ok(client.pushes.every((frame) => frame.isBinary === isBinary && frame.items <= 100));
      client.close();
    }
  });

  it('says that something is missing where limits have removed it, or the history is another one', async () => {
    const room = newRoom('short');
    const position = await push(room, 0);
    const last = await push(room, ...numbers(1, 20));
    for (const since of [position, { ...last, epoch: 'other' }, { ...last, seq: last.seq + 1_000_000 }])
      for (const { port } of gateways) {
        const client = await Client.open(port, V1);
        const { data } = await client.join(room, { since, away: 1_000 });
        assert.deepEqual(data, { room, ...last, recovered: false });
        assert.deepEqual(client.items, []);
        client.close();
      }
  });

  it('is answered afresh where the client is in the room already', async () => {
    const room = newRoom();
    const client = await Client.open(gateways[0]!.port, V1);
    await client.join(room);
    const first = await push(room, 0);
    await push(room, 1, 2);
    await until('it has all', () => client.items.length === 3);
    assert.equal((await client.join(room, { since: first })).data.recovered, true);
    await push(room, 3);
    await until('it has what came later', () => client.items.includes(3));
    assert.deepEqual(client.items, [0, 1, 2, 1, 2, 3]);
    client.close();
  });

  it('with a position that is none is refused by its field', async () => {
    const client = await Client.open(gateways[0]!.port, V1);
    const { type, data } = await client.join('live-1', { since: { epoch: '', seq: 1 } });
    assert.deepEqual([type, data.code], ['ERROR', 'bad_frame']);
    client.close();
  });
});
