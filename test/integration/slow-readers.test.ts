import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger, type Writer } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

/** One in ten stops reading. */
const PER_FORM = 10;
const SLOW_PER_FORM = 1;
/** Bytes of an item: frames that fill the kernel's buffers soon. */
const ITEM_BYTES = 30_000;
/** Items that a slow connection is to miss, on average: so many that each misses some, in whatever form. */
const MISSED = 100;

let nats: NatsServer;
let logic: LogicProcess;
let gateway: GatewayProcess;
let fast: Connection[];
let slow: Connection[];
let ledger: Ledger;
let writers: Writer[];

before(async () => {
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
  gateway = await startGateway({
    settings: {
      gateway: { shards: 2, batching: { maxDelay: 50, maxBytes: 65_536 }, slowConsumer: { maxBuffer: 131_072 } },
    },
    nats: [nats.url],
  });
  const { port } = gateway;
  const connections = await Promise.all(
    WIRE_FORMS.flatMap((form) => Array.from({ length: PER_FORM }, () => Connection.open({ port, form }))),
  );
  await Promise.all(connections.flatMap((connection) => ['r', 's'].map((room) => connection.join(room))));
  slow = connections.filter((_, i) => i % PER_FORM < SLOW_PER_FORM);
  fast = connections.filter((connection) => !slow.includes(connection));
  ledger = new Ledger();
  writers = [
    ledger.writer('r', { room: 'r' }, logic),
    ledger.writer('s', { room: 's' }, logic),
    ledger.writer('a', { all: true }, logic),
  ];
});
after(async () => {
  cutAll([...fast, ...slow]);
  await Promise.all([gateway, logic].map((process) => process.stop()));
  await nats.stop();
});

describe('connections that stop reading', () => {
  it('are told exactly what they missed once they read again, over and over; the others get everything', async (t) => {
    for (let round = 1; round <= 2; round++) {
      const before = slow.map((connection) => connection.received);
      for (const connection of slow) connection.pause();
      const enough = (await dropped()) + slow.length * MISSED;
      await pushUntil(async () => (await dropped()) >= enough);
      assert.deepEqual(
        slow.map(({ received }) => received),
        before,
        'they stand still',
      );
      for (const connection of slow) connection.resume();
      const resumed = writers.map(({ next }) => next);
      await until('they are back', async () => {
        for (const writer of writers) await writer.push(1);
        return slow.every((connection) => writers.every((writer, i) => lastOf(connection, writer) >= resumed[i]!));
      });
      await ledger.settle(t, [...fast, ...slow], { lossy: true });
      await ledger.arrived([...fast, ...slow]);
      for (const connection of slow) {
        assert.equal(connection.told(), connection.told('slow'));
        if (connection.form !== 'plain') assert.ok(connection.told() > 0);
      }
    }
    assert.ok(
      fast.every((connection) => connection.told() === 0),
      'the others are unharmed',
    );
    assert.ok([...fast, ...slow].every(({ closed }) => closed === undefined));
    const lost = slow.reduce((sum, connection) => sum + missedBy(connection), 0);
    await until('the metric says the same', async () => (await dropped()) === lost);
  });

  it('are closed where that is the policy; the others get everything', async (t) => {
    await gateway.configure({ gateway: { slowConsumer: { policy: 'close' } } });
    await logic.hearsAll();
    for (const connection of slow) connection.pause();
    await pushUntil(async () => (await gateway.connections()) === fast.length);
    for (const connection of slow) connection.resume();
    for (const connection of slow) {
      const { code } = await connection.ended();
      assert.ok(code === 4003 || code === 1006, `closed with ${code}`);
    }
    await ledger.settle(t, fast);
    assert.ok(fast.every((connection) => connection.told() === 0 && connection.closed === undefined));
    await until('the metric says the same', async () => {
      const metrics = await gateway.metrics();
      return metrics.sum('pushcluster_gateway_connections_closed_total', { code: '4003' }) === slow.length;
    });
  });
});

/** The number of the last item that a connection has of a writer. */
function lastOf({ tallies }: Connection, { name, room = '' }: Writer): number {
  return tallies.get(`${name}\n${room}`)?.numbers.at(-1) ?? 0;
}

/** Pushes large items at the pace at which the others read them, until `enough`. */
async function pushUntil(enough: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await enough())) {
    assert.ok(performance.now() < deadline, 'the kernel takes more than expected');
    // Random, or else the deflate form would take long to fill the buffers.
    for (const writer of writers)
      for (let i = 0; i < 3; i++) await writer.push(1, randomBytes((ITEM_BYTES * 3) / 4).toString('base64'));
    const accounts = () => fast.flatMap((connection) => ledger.accounts(connection));
    await until('the others have it', () => accounts().every(({ published, received }) => published === received));
  }
}

async function dropped(): Promise<number> {
  return (await gateway.metrics()).sum('pushcluster_gateway_messages_dropped_total', { reason: 'slow' });
}

function missedBy(connection: Connection): number {
  return ledger.accounts(connection).reduce((sum, { published, received }) => sum + published - received, 0);
}
