import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const CONNECTIONS = 800;
const CLIENTS = 24;
const ROOM = 'live';
/** Above this share of the average a Service does not choose a gateway, until it is below the other. */
const [SPARED, CHOSEN] = [1.2, 1.1];

/** What a Service and its operator do: new connections go in turn to the gateways that are not too full. */
class Balancer {
  gateways: GatewayProcess[] = [];
  #open: GatewayProcess[] = [];
  #next = 0;
  #watching = true;
  readonly #watch: Promise<void>;

  constructor(gateways: GatewayProcess[]) {
    this.gateways = this.#open = gateways;
    this.#watch = this.#look();
  }

  get port(): number {
    return this.#open[this.#next++ % this.#open.length]!.port;
  }

  async counts(): Promise<number[]> {
    return Promise.all(this.gateways.map(async (gateway) => (await gateway.status()).connections ?? 0));
  }

  async stop(): Promise<void> {
    this.#watching = false;
    await this.#watch;
  }

  async #look(): Promise<void> {
    while (this.#watching) {
      const gateways = this.gateways;
      const counts = await this.counts();
      const average = counts.reduce((sum, count) => sum + count, 0) / counts.length;
      const bound = (gateway: GatewayProcess) => (this.#open.includes(gateway) ? SPARED : CHOSEN) * average;
      const open = gateways.filter((gateway, i) => (counts[i] ?? 0) <= bound(gateway));
      this.#open = open.length > 0 ? open : gateways;
      await pause(500);
    }
  }
}

/** A client that speaks v1 and moves when it is asked to: another connection first, then away from this one. */
class Mover {
  connection: Connection;
  moves = 0;
  readonly problems: string[] = [];
  readonly #balancer: Balancer;

  static async open(balancer: Balancer): Promise<Mover> {
    return new Mover(await Connection.open({ port: balancer.port, form: 'v1' }), balancer);
  }

  constructor(connection: Connection, balancer: Balancer) {
    this.connection = connection;
    this.#balancer = balancer;
    this.#follow();
  }

  #follow() {
    const { connection } = this;
    connection.onReconnect = () => {
      this.moves++;
      Connection.open({ port: this.#balancer.port, form: 'v1' }).then(
        (next) => {
          this.connection = next;
          this.#follow();
          connection.close();
        },
        (error: unknown) => this.problems.push(String(error)),
      );
    };
  }
}

/** An SDK client in the room, and what it got. */
class Watcher {
  readonly got: number[] = [];
  readonly gaps: object[] = [];
  moved = 0;
  closes = 0;
  #client: PushClient | undefined;

  async open(balancer: Balancer): Promise<void> {
    const client = new PushClient('ws://balancer/connect', {
      WebSocket: redirectedSocket(() => `127.0.0.1:${balancer.port}`),
    });
    this.#client = client;
    const room = client.join<number>(ROOM);
    room.on('item', (item) => this.got.push(item));
    client.on('gap', (gap) => this.gaps.push(gap));
    client.on('close', () => this.closes++);
    client.on('moved', () => this.moved++);
    await room.joined;
  }

  close(): void {
    this.#client?.close();
  }
}

describe('two full gateways that two empty ones join', () => {
  let nats: NatsServer;
  let logic: LogicProcess;
  let balancer: Balancer;
  const movers: Mover[] = [];
  const watchers = Array.from({ length: CLIENTS }, () => new Watcher());
  const settings = {
    gateway: {
      shards: 1,
      batching: { maxDelay: 200 },
      rebalance: { minimum: 20, rate: 100 },
    },
  };

  before(async () => {
    nats = await startNatsServer();
    logic = await startLogic({ nats: [nats.url] });
    balancer = new Balancer(await Promise.all([start(), start()]));
    // Those who came first are asked first: SDK clients, so that some of them are.
    await Promise.all(watchers.map((watcher) => watcher.open(balancer)));
    while (movers.length < CONNECTIONS)
      movers.push(...(await Promise.all(Array.from({ length: 100 }, () => Mover.open(balancer)))));
  });

  after(async () => {
    await balancer.stop();
    for (const watcher of watchers) watcher.close();
    cutAll(movers.map(({ connection }) => connection));
    await Promise.all([...balancer.gateways, logic].map((process) => process.stop()));
    await nats.stop();
  });

  function start() {
    return startGateway({ settings, nats: [nats.url] });
  }

  it('give away what they have above the average: nobody twice, no item lost', async (t) => {
    let written = 0;
    let writing = true;
    const writer = (async () => {
      while (writing) {
        assert.equal((await logic.push({ room: ROOM }, [JSON.stringify(++written)])).status, 202);
        await pause(50);
      }
    })();

    const total = CONNECTIONS + CLIENTS;
    const sum = (counts: readonly number[]) => counts.reduce((all, count) => all + count, 0);
    await until('all are counted', async () => sum(await balancer.counts()) === total);
    const full = await balancer.counts();
    // Who came at a second attempt only is not what this is about.
    for (const watcher of watchers) watcher.closes = 0;
    const began = performance.now();
    const joined = await Promise.all([start(), start()]);
    balancer.gateways = [...balancer.gateways, ...joined];
    await until(
      'they are about evenly full',
      async () => {
        const counts = await balancer.counts();
        return sum(counts) === total && Math.max(...counts) <= 1.25 * (total / 4);
      },
      // Ten seconds until it begins, and another ten if once was not enough, are the product's own.
      3 * PATIENCE_MS,
    );
    const took = (performance.now() - began) / 1_000;
    const counts = await balancer.counts();
    const asked = await Promise.all(
      balancer.gateways.map(async (gateway) =>
        (await gateway.metrics()).sum('pushcluster_gateway_moved_total', { reason: 'rebalance' }),
      ),
    );
    const moves = sum(asked);
    t.diagnostic(`${full} connections became ${counts} in ${took.toFixed(1)} s by ${moves} moves`);
    assert.ok(moves <= 0.6 * total, `${moves} moves`);
    assert.ok(movers.every((mover) => mover.moves <= 1));
    assert.deepEqual(
      movers.flatMap(({ problems }) => problems),
      [],
    );
    assert.ok(movers.every(({ connection }) => connection.closed === undefined));
    // They were asked first, but a client waits a moment before it moves, and then until both connections overlap.
    const moved = () => sum(watchers.map((watcher) => watcher.moved));
    await until('those who came first have moved', () => moved() >= CLIENTS);

    writing = false;
    await writer;
    await until('the last item came', () => watchers.every(({ got }) => got.at(-1) === written));
    for (const { got, gaps, closes } of watchers) {
      const from = got[0] ?? 0;
      assert.deepEqual(
        got,
        Array.from({ length: written - from + 1 }, (_, i) => from + i),
      );
      assert.deepEqual([gaps, closes], [[], 0]);
    }
    t.diagnostic(`${moved()} moves of ${CLIENTS} SDK clients, ${written} items: each once, none missed`);
    assert.ok(watchers.every((watcher) => watcher.moved <= 2));
  });
});
