import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Lateness } from '../harness/lateness.ts';
import { Ledger, type Place, type Writer } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const PUBLISH_TIMEOUT_MS = 1_000;
/** Beside what the machine is late. */
const SLACK_MS = 2_000;
const PLACES: Place[] = [{ room: 'r0' }, { room: 'r1' }, { room: 'r2' }, { all: true }];
const PER_FORM = 12;

let nats: NatsServer;
let gateways: GatewayProcess[];
let logics: LogicProcess[];
let connections: Connection[];

before(async () => {
  const [port = 0] = await freePorts(1);
  nats = await startNatsServer({ port });
  const bus = { nats: { servers: [nats.url], pingInterval: 1_000 } };
  const gateway = { shards: 1, batching: { maxDelay: 200 } };
  logics = await Promise.all(
    [0, 1].map(() => startLogic({ settings: { bus, logic: { publishTimeout: PUBLISH_TIMEOUT_MS } } })),
  );
  gateways = await Promise.all([0, 1].map(() => startGateway({ settings: { bus, gateway } })));
  connections = [];
  for (const { port } of gateways)
    for (const form of WIRE_FORMS)
      for (let i = 0; i < PER_FORM; i++) connections.push(await Connection.open({ port, form }));
  await Promise.all(
    connections.flatMap((connection, i) => [`r${i % 3}`, `r${(i + 1) % 3}`].map((r) => connection.join(r))),
  );
});
after(async () => {
  cutAll(connections);
  await Promise.all([...gateways, ...logics].map((process) => process.stop()));
  await nats.stop();
});

describe('while NATS is away', () => {
  it('pushes are refused in time and never come later, connections stay, and afterwards the books balance', async (t) => {
    const load = new Load('killed');
    await until('the load is on', () => load.writers.every(({ accepted }) => accepted > 50));
    await nats.kill();
    await until('every writer is refused', () => load.writers.every(({ refused }) => refused.size > 3));
    for (const process of [...gateways, ...logics]) {
      await until('it has noticed', async () => (await process.metrics()).sum('pushcluster_bus_connected') === 0);
      assert.equal(await process.probe('/readyz'), 200, 'a bus that went away is no unreadiness');
    }
    const accepted = load.writers.map((writer) => writer.accepted);
    await nats.restart();
    await until('every writer is heard again', () =>
      load.writers.every((writer, i) => writer.accepted > accepted[i]! + 20),
    );
    await load.stop();
    await allOnBus();
    await load.ledger.settle(t, connections, { lossy: true });
    await load.ledger.arrived(connections);
    load.assertInTime();
    await assertNobodyLeft();
    for (const process of [...gateways, ...logics])
      assert.ok((await process.metrics()).sum('pushcluster_bus_reconnects_total') >= 1);
  });

  it('it may also stand still: pushes are answered in time, and what was refused never comes', async (t) => {
    for (const connection of connections) {
      connection.tallies.clear();
      connection.lags.length = 0;
    }
    const load = new Load('stalled');
    await until('the load is on', () => load.writers.every(({ accepted }) => accepted > 20));
    await nats.pause();
    await until('every writer is refused', () => load.writers.every(({ refused }) => refused.size > 3));
    nats.resume();
    const accepted = load.writers.map((writer) => writer.accepted);
    await until('every writer is heard again', () =>
      load.writers.every((writer, i) => writer.accepted > accepted[i]! + 20),
    );
    await load.stop();
    await allOnBus();
    await load.ledger.settle(t, connections, { lossy: true });
    load.assertInTime();
    assert.ok(
      load.writers.some(({ unconfirmed }) => unconfirmed > 0),
      'what was under way is not called refused',
    );
    await assertNobodyLeft();
  });
});

/** Writers through both logic processes to all places, each pushing on until `stop`. */
class Load {
  readonly ledger = new Ledger();
  readonly #lateness = new Lateness();
  readonly writers: Writer[];
  readonly #ends: Promise<void>[];
  #on = true;

  constructor(name: string) {
    this.writers = logics.flatMap((logic, l) =>
      PLACES.map((place, p) => this.ledger.writer(`${name}${l}-${p}`, place, logic)),
    );
    this.#ends = this.writers.map((writer, i) => this.#write(writer, i));
  }

  async stop(): Promise<void> {
    this.#on = false;
    await Promise.all(this.#ends);
    this.#lateness.stop();
  }

  /** Every 503 came within what a push may wait for the bus. */
  assertInTime() {
    // One of them may have met the worst of it, and waited on both ways.
    const most = PUBLISH_TIMEOUT_MS + SLACK_MS + 4 * this.#lateness.longest;
    const slow = this.writers.flatMap(({ answers }) => answers).filter(({ ms }) => ms > most);
    assert.deepEqual(slow, []);
  }

  async #write(writer: Writer, seed: number): Promise<void> {
    for (let round = 0; this.#on; round++) {
      const { status } = await writer.push(1 + ((round + seed) % 4), (round * 31) % 300);
      // The pace of a backend that heeds a 503.
      await pause(status === 503 ? 50 : 10);
    }
  }
}

async function allOnBus(): Promise<void> {
  for (const process of [...gateways, ...logics])
    await until('all are on the bus', async () => (await process.metrics()).sum('pushcluster_bus_connected') === 1);
}

async function assertNobodyLeft(): Promise<void> {
  assert.equal(connections.filter(({ closed }) => closed !== undefined).length, 0);
  for (const gateway of gateways) {
    const opened = (await gateway.metrics()).sum('pushcluster_gateway_connections_opened_total');
    assert.equal(opened, connections.length / gateways.length, 'nobody had to come back');
  }
}
