import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { SocketConstructor } from '@pushcluster/client/connection.ts';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import type { JoinOptions } from '@pushcluster/client/stream.ts';
import { WebSocket as OtherWebSocket } from 'ws';
import { Connection, WIRE_FORMS } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { startTcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';

const ROOMS = [{ match: 'live-*', history: { messages: 5_000 }, batching: { maxDelay: 50 } }];
const SETTINGS = { rooms: ROOMS, gateway: { shards: 2, drain: { settle: 0, timeout: 20_000, rate: 50 } } };
const CLIENTS = 12;

let nats: NatsServer;
let logic: LogicProcess;
let rooms = 0;

before(async () => {
  nats = await startNatsServer({ jetstream: true });
  logic = await startLogic({ nats: [nats.url], settings: SETTINGS });
});
after(async () => {
  await logic.stop();
  await nats.stop();
});

const opened = new Set<PushClient>();
afterEach(() => {
  for (const push of opened) push.close();
  opened.clear();
});

const gatewayOf = (): Promise<GatewayProcess> => startGateway({ nats: [nats.url], settings: SETTINGS });

/** Pushes numbers to a room, one after another, until it is stopped. */
class Pusher {
  count = 0;
  #stopped = false;
  readonly #loop: Promise<void>;

  constructor(room: string) {
    this.#loop = (async () => {
      while (!this.#stopped) {
        const { status } = await logic.push({ room }, [String(this.count)]);
        assert.equal(status, 202);
        this.count++;
      }
    })();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
  }
}

/** A page in a room: what it got, and what it was told. */
class Page {
  readonly items: number[] = [];
  resumed = 0;
  closes = 0;
  moved = 0;
  readonly told: string[] = [];
  readonly push: PushClient;
  readonly room: ReturnType<PushClient['join']>;

  constructor(port: () => number, name: string, options: JoinOptions = {}) {
    const target = redirectedSocket(() => `127.0.0.1:${port()}`);
    this.push = new PushClient('ws://balancer/connect', { backoff: { base: 50 }, WebSocket: target });
    opened.add(this.push);
    this.room = this.push.join(name, options);
    this.room.on('item', (item) => this.items.push(item as number));
    this.room.on('resumed', () => this.resumed++);
    this.room.on('reset', ({ reason }) => this.told.push(`reset ${reason}`));
    for (const event of ['lagged', 'gap', 'error'] as const) this.push.on(event, () => this.told.push(event));
    this.push.on('close', () => this.closes++);
    this.push.on('moved', () => this.moved++);
  }

  /** Nothing is missing from its first item on, nothing came twice, and nothing else was told. */
  assertWhole(): void {
    const first = this.items[0]!;
    assert.deepEqual(
      this.items,
      Array.from({ length: this.items.length }, (_, i) => first + i),
    );
    assert.deepEqual(this.told, []);
  }
}

async function pagesIn(name: string, port: (page: number) => number): Promise<Page[]> {
  const pages = Array.from({ length: CLIENTS }, (_, page) => new Page(() => port(page), name));
  await Promise.all(pages.map(({ room }) => room.joined));
  return pages;
}

async function assertAllWhole(pages: readonly Page[], pusher: Pusher): Promise<void> {
  await pusher.stop();
  await until('everyone has the last item', () => pages.every(({ items }) => items.at(-1) === pusher.count - 1));
  for (const page of pages) page.assertWhole();
}

describe('pages in a room with history miss nothing', () => {
  it('while their gateways are killed one after another', async (t) => {
    let gateways: GatewayProcess[] = await Promise.all([gatewayOf(), gatewayOf()]);
    t.after(() => Promise.all(gateways.map((gateway) => gateway.stop())));
    let next = 0;
    const room = `live-${++rooms}`;
    const pages = await pagesIn(room, () => gateways[next++ % gateways.length]!.port);
    const pusher = new Pusher(room);
    for (let round = 0; round < 3; round++) {
      const [victim, ...others] = gateways as [GatewayProcess, ...GatewayProcess[]];
      await until('everyone has something new', () => pages.every(({ items }) => items.length > round * 20));
      gateways = others;
      await victim.kill();
      gateways = [...others, await gatewayOf()];
      await until('all are connected', () => pages.every(({ push }) => push.state === 'open'));
    }
    await until('all have resumed', () => pages.every(({ closes, resumed }) => resumed >= closes));
    assert.ok(
      pages.some(({ closes }) => closes > 0),
      'nobody was cut off: this shows nothing',
    );
    await assertAllWhole(pages, pusher);
  });

  it('when all of a killed gateway come to another at once, which reads the store twice for each room at most', async (t) => {
    const [victim, other] = await Promise.all([gatewayOf(), gatewayOf()]);
    t.after(() => other.stop());
    let port = victim.port;
    const names = Array.from({ length: 20 }, () => `live-${++rooms}`);
    const pages = names.flatMap((name) => Array.from({ length: 10 }, () => new Page(() => port, name)));
    await Promise.all(pages.map(({ room }) => room.joined));
    let count = 0;
    const pushed = async (more: number) => {
      for (const end = count + more; count < end; count++)
        assert.equal((await logic.push({ rooms: names }, [String(count)])).status, 202);
    };
    await pushed(10);
    await until('everyone has something', () => pages.every(({ items }) => items.length > 0));
    port = other.port;
    await victim.kill();
    await pushed(30);
    await until('everyone has everything', () => pages.every(({ items }) => items.at(-1) === count - 1));
    for (const page of pages) page.assertWhole();
    const reads = (await other.metrics()).sum('pushcluster_gateway_history_reads_total');
    t.diagnostic(`${reads} reads for ${names.length} rooms and ${pages.length} pages`);
    assert.ok(reads <= 2 * names.length, `${reads} reads`);
  });

  it('while their connections are cut, again and again', async (t) => {
    const gateway = await gatewayOf();
    const proxies = await Promise.all([startTcpProxy(gateway.port), startTcpProxy(gateway.port)]);
    t.after(async () => {
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await gateway.stop();
    });
    const room = `live-${++rooms}`;
    const pages = await pagesIn(room, (page) => proxies[page % 2]!.port);
    const pusher = new Pusher(room);
    for (let round = 0; round < 6; round++) {
      const before = pusher.count;
      await until('something was pushed', () => pusher.count > before + 15);
      // Who has not resumed yet would resume once for two cuts.
      await until('all have resumed', () =>
        pages.every(({ push, closes, resumed }) => push.state === 'open' && resumed >= closes),
      );
      const closes = pages.map((page) => page.closes);
      proxies[round % 2]!.reset();
      await until('half of them noticed', () =>
        pages.every((page, i) => i % 2 !== round % 2 || page.closes > closes[i]!),
      );
    }
    await assertAllWhole(pages, pusher);
    for (const { resumed } of pages) assert.ok(resumed >= 3, `${resumed} resumes`);
  });

  it('while their gateway is drained, and they move to another', async (t) => {
    const [leaving, staying] = await Promise.all([gatewayOf(), gatewayOf()]);
    t.after(() => staying.stop());
    let port = leaving.port;
    const room = `live-${++rooms}`;
    const pages = await pagesIn(room, () => port);
    const pusher = new Pusher(room);
    await until('everyone has something', () => pages.every(({ items }) => items.length > 10));
    port = staying.port;
    await leaving.stop();
    await until('all have moved', () => pages.every(({ push }) => push.state === 'open'));
    const { count } = pusher;
    await until('more was pushed', () => pusher.count > count + 20);
    assert.ok(
      pages.every(({ moved }) => moved === 1),
      `${pages.map(({ moved }) => moved)} moves`,
    );
    await assertAllWhole(pages, pusher);
  });

  it('over a reload: another page continues where the former was', async (t) => {
    const gateway = await gatewayOf();
    t.after(() => gateway.stop());
    const room = `live-${++rooms}`;
    const [page] = await pagesIn(room, () => gateway.port);
    const pusher = new Pusher(room);
    await until('it has something', () => page!.items.length > 10);
    const position = JSON.parse(JSON.stringify(page!.room.position));
    page!.push.close();
    const last = page!.items.at(-1)!;
    await until('more was pushed', () => pusher.count > last + 30);
    const again = new Page(() => gateway.port, room, { since: position });
    await until('it has more', () => again.items.length > 30);
    assert.equal(again.items[0], last + 1);
    await assertAllWhole([again], pusher);
  });

  it('where they begin to read behind joined, with all three ways to begin, and more than a queue holds', async (t) => {
    const gateway = await gatewayOf();
    t.after(() => gateway.stop());
    const room = `live-${++rooms}`;
    const due = 3_000;
    const [first] = await pagesIn(room, () => gateway.port);
    assert.equal((await logic.push({ room }, ['0'])).status, 202);
    await until('the first item came', () => first!.items.length === 1);
    const { epoch, seq, at } = first!.room.position!;
    const numbers = Array.from({ length: due }, (_, i) => i + 1);
    for (let i = 0; i < due; i += 20)
      assert.equal((await logic.push({ room }, numbers.slice(i, i + 20).map(String))).status, 202);
    await until('all items came', () => first!.items.length === due + 1);
    const kept = new Map([[`pushcluster.${room}`, JSON.stringify({ epoch, seq, at })]]);
    const storage = { getItem: (key: string) => kept.get(key), setItem: () => {} };
    for (const options of [{ last: due / 20 }, { since: { epoch, seq, at } }, { storage }])
      for (const WebSocket of [undefined, OtherWebSocket as unknown as SocketConstructor]) {
        const push = new PushClient(`ws://127.0.0.1:${gateway.port}/connect`, { WebSocket });
        opened.add(push);
        push.on('lagged', () => assert.fail('something was dropped'));
        const joined = push.join<number>(room, options);
        const got: number[] = [];
        void (async () => {
          await joined.joined;
          for await (const item of joined) got.push(item);
        })();
        await until('everything missed has come', () => got.at(-1) === due);
        assert.deepEqual(got, numbers);
        push.close();
      }
  });

  it('over reloads with a storage, one after another, and after a crash nothing is lost', async (t) => {
    const gateway = await gatewayOf();
    t.after(() => gateway.stop());
    const room = `live-${++rooms}`;
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
    };
    const pages = [new Page(() => gateway.port, room, { storage })];
    await pages[0]!.room.joined;
    const pusher = new Pusher(room);
    for (let reload = 0; reload < 5; reload++) {
      const page = pages.at(-1)!;
      await until('it has something', () => page.items.length > 20);
      page.push.close();
      pages.push(new Page(() => gateway.port, room, { storage }));
    }
    const [crashed, text] = await (async () => {
      const page = pages.at(-1)!;
      await until('it has something', () => page.items.length > 20);
      // What a page that is killed leaves: what was written last.
      return [page, kept.get(`pushcluster.${room}`)!] as const;
    })();
    await until('it has more', () => crashed.items.length > 50);
    const last = crashed.items.at(-1)!;
    crashed.push.close();
    kept.set(`pushcluster.${room}`, text);
    const after = new Page(() => gateway.port, room, { storage });
    await until('the next has what came since', () => (after.items.at(-1) ?? 0) > last + 20);
    await assertAllWhole([after], pusher);
    assert.ok(after.items[0]! <= last + 1, 'nothing is lost');
    for (const page of pages) page.assertWhole();
    const reloaded = pages.flatMap(({ items }) => items);
    assert.deepEqual(
      reloaded,
      Array.from({ length: reloaded.length }, (_, i) => reloaded[0]! + i),
      'five reloads show as one page',
    );
  });

  it('and clients that know nothing of history notice nothing: those of go-push, and of v1', async (t) => {
    const gateway = await gatewayOf();
    t.after(() => gateway.stop());
    const room = `live-${++rooms}`;
    const others = await Promise.all(
      WIRE_FORMS.map((form) => Connection.open({ port: gateway.port, form, keepItems: true })),
    );
    for (const other of others) {
      other.send({ type: 'JOIN', data: { room } });
      await other.ping();
    }
    const page = new Page(() => gateway.port, room);
    await page.room.joined;
    const pusher = new Pusher(room);
    await until('the page has something', () => page.items.length > 30);
    await assertAllWhole([page], pusher);
    assert.equal(page.items[0], 0);
    for (const { items, lags, left, closing } of others) {
      const texts = () => items.filter((item) => item.room === room).map(({ text }) => Number(text));
      await until('it has the last item', () => texts().at(-1) === pusher.count - 1);
      assert.deepEqual(texts(), page.items);
      assert.deepEqual([lags, left, closing], [[], [], undefined]);
    }
    for (const other of others) other.close();
  });
});
