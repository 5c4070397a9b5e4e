import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger, type Writer } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

/** One of each form stops reading. */
const PER_FORM = 4;
const ITEM_BYTES = 30_000;
/** Rounds of so many pushes: more than the kernel's and the gateway's buffers take. */
const [ROUNDS, AT_ONCE] = [60, 8];
const ROOMS = [
  { match: 'long-*', history: { messages: 5_000 } },
  { match: 'short-*', history: { messages: 3 } },
];
const SETTINGS = {
  rooms: ROOMS,
  gateway: { shards: 2, batching: { maxDelay: 50, maxBytes: 65_536 }, slowConsumer: { maxBuffer: 131_072 } },
};

const ledger = new Ledger();
let nats: NatsServer;
let logic: LogicProcess;
let gateway: GatewayProcess;
let connections: Connection[];
let slow: Connection[];
let fast: Connection[];

before(async () => {
  nats = await startNatsServer({ jetstream: true });
  logic = await startLogic({ nats: [nats.url], settings: { rooms: ROOMS } });
  gateway = await startGateway({ settings: SETTINGS, nats: [nats.url] });
  const { port } = gateway;
  connections = await Promise.all(
    WIRE_FORMS.flatMap((form) => Array.from({ length: PER_FORM }, () => Connection.open({ port, form }))),
  );
  await Promise.all(connections.flatMap((connection) => ['long-1', 'short-1'].map((room) => connection.join(room))));
  slow = connections.filter((_, i) => i % PER_FORM === 0);
  fast = connections.filter((connection) => !slow.includes(connection));
});
after(async () => {
  cutAll(connections);
  await Promise.all([gateway, logic].map((process) => process.stop()));
  await nats.stop();
});

/** Random, or else the deflate form would take long to fill the buffers. */
const large = () => randomBytes((ITEM_BYTES * 3) / 4).toString('base64');

/** Pushes large items, no faster than the others read them. */
async function pushAll(writer: Writer): Promise<void> {
  const have = slow.map(({ received }) => received);
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < AT_ONCE; i++) await writer.push(1, large());
    const accounts = () => fast.flatMap((connection) => ledger.accounts(connection));
    await until('the others have it', () => accounts().every(({ published, received }) => published === received));
  }
  assert.deepEqual(
    slow.map(({ received }) => received),
    have,
    'they stand still',
  );
}

describe('connections that stop reading in a room with history', () => {
  it('get all that they missed once they read again, over and over, in every form', async (t) => {
    const writer = ledger.writer('w', { room: 'long-1' }, logic);
    for (let round = 0; round < 2; round++) {
      for (const connection of slow) connection.pause();
      await pushAll(writer);
      for (const connection of slow) connection.resume();
      await writer.push(1);
      await ledger.settle(t, connections);
    }
    assert.ok(connections.every((connection) => connection.told() === 0 && connection.closed === undefined));
    const metrics = await gateway.metrics();
    assert.equal(metrics.sum('pushcluster_gateway_messages_dropped_total', { reason: 'slow' }), 0);
    assert.ok(metrics.sum('pushcluster_gateway_history_ring_bytes') <= 1_048_576);
  });

  it('are told where limits have removed what they missed, and go on from there', async (t) => {
    const writer = ledger.writer('v', { room: 'short-1' }, logic);
    for (const connection of slow) connection.pause();
    await pushAll(writer);
    for (const connection of slow) connection.resume();
    await until('they are back', async () => {
      await writer.push(1);
      return slow.every(({ tallies }) => (tallies.get('v\nshort-1')?.numbers.at(-1) ?? 0) >= ROUNDS * AT_ONCE);
    });
    for (const { form, resets } of slow) assert.deepEqual(resets, form === 'plain' ? [] : ['short-1']);
    await ledger.settle(t, fast);
  });
});

describe('shards that do not keep up', () => {
  it('leave nothing out of a room with history, and tell of nothing: its members are sent it later', async () => {
    const writer = ledger.writer('x', { room: 'long-1' }, logic);
    const overrun = async () => (await gateway.metrics()).sum('pushcluster_gateway_shard_overrun_items_total');
    await gateway.configure({ gateway: { shardWatch: { maxInFlight: 1_048_576, hangTimeout: 60_000 } } });
    for (const pid of gateway.shardPids) process.kill(pid, 'SIGSTOP');
    try {
      await until('too much is on its way', async () => {
        await writer.push(1, large());
        return (await overrun()) > 10;
      });
    } finally {
      for (const pid of gateway.shardPids) process.kill(pid, 'SIGCONT');
    }
    // Without a later push.
    const numbers = connections.map(
      ({ tallies }) =>
        () =>
          tallies.get('x\nlong-1')?.numbers ?? [],
    );
    await until('all have everything', () => numbers.every((of) => of().length === writer.accepted));
    for (const of of numbers)
      assert.deepEqual(
        of(),
        [...of()].sort((a, b) => a - b),
      );
    assert.ok(connections.every((connection) => connection.told() === 0));
  });
});
