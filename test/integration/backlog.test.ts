import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { Connection, cutAll } from '../harness/connection.ts';
import { Ledger } from '../harness/ledger.ts';
import { MemoryCgroup } from '../harness/memoryCgroup.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { isAlive, startGateway, startLogic } from '../harness/processes.ts';
import { RawWebSocket } from '../harness/rawWebSocket.ts';
import { until } from '../harness/until.ts';

const MIB = 1_048_576;
const LIMIT = 400 * MIB;
/** An eighth of it. */
const BUDGET = LIMIT / 8;
/** Stop reading: with a MiB for each they would hold several times the budget, and more than the limit leaves. */
const STOPPED = 300;
const READING = 5;
const ITEM_BYTES = 30_000;

describe('readers that stop, many of them', () => {
  it('are closed, the worst first, before what waits for them is more than memory; the others miss nothing', async (t) => {
    const group = MemoryCgroup.create(`pushcluster-backlog-${process.pid}`, LIMIT);
    if (!group) {
      t.skip('needs root, and a memory controller');
      return;
    }
    const { gateway, logic } = await start(t, group);
    const { port } = gateway;
    const [shard = 0] = gateway.shardPids;
    const reading: Connection[] = [];
    const stopped: RawWebSocket[] = [];
    t.after(() => {
      cutAll(reading);
      for (const one of stopped) one.destroy();
    });
    while (reading.length < READING) reading.push(await Connection.open({ port, form: 'v1' }));
    while (stopped.length < STOPPED) {
      const one = await RawWebSocket.open(port);
      one.socket.pause();
      stopped.push(one);
    }
    await gateway.holds(READING + STOPPED);
    const ledger = new Ledger();
    const writer = ledger.writer('a', { all: true }, logic);
    let most = 0;
    const cut = async () => {
      const metrics = await gateway.metrics();
      most = Math.max(most, metrics.sum('pushcluster_gateway_shard_backlog_bytes'));
      return metrics.sum('pushcluster_gateway_backlog_cut_total');
    };
    // Until it has done so for a while, and not only once.
    for (let pushed = 0; (await cut()) < STOPPED * 0.8; pushed++) {
      assert.ok(pushed < 800, 'the kernel takes more than expected');
      await writer.push(1, randomBytes((ITEM_BYTES * 3) / 4).toString('base64'));
      const accounts = () => reading.flatMap((connection) => ledger.accounts(connection));
      await until('the others have it', () => accounts().every(({ published, received }) => published === received));
    }
    await ledger.settle(t, reading);
    assert.ok(reading.every((connection) => connection.told() === 0 && connection.closed === undefined));
    assert.deepEqual(gateway.shardPids, [shard], 'nobody was killed');
    assert.ok(isAlive(shard));
    t.diagnostic(`${Math.round(most / MIB)} MiB waited at most, of ${BUDGET / MIB}`);
    // The worst are closed after a push, in the next turn of the loop: a report may come before that.
    const push = STOPPED * ITEM_BYTES;
    assert.ok(most > 0 && most <= BUDGET + push * 1.1, `${most} bytes waited`);
    assert.equal((await gateway.metrics()).sum('pushcluster_gateway_shard_backlog_limit_bytes'), BUDGET);
    await until('those who were cut are closed, and nobody else', async () => {
      const metrics = await gateway.metrics();
      const closed = metrics.sum('pushcluster_gateway_connections_closed_total', { code: '4003' });
      const left = metrics.sum('pushcluster_gateway_connections');
      return closed === metrics.sum('pushcluster_gateway_backlog_cut_total') && left === READING + STOPPED - closed;
    });
  });
});

async function start(t: TestContext, group: MemoryCgroup) {
  const nats = await startNatsServer();
  t.after(() => nats.stop());
  const logic = await startLogic({ nats: [nats.url] });
  t.after(() => logic.stop());
  const settings = { gateway: { shards: 1, batching: { maxDelay: 0 } } };
  const gateway = await group.within(() => startGateway({ settings, nats: [nats.url] }));
  t.after(async () => {
    await gateway.stop();
    await until('the group is empty', () => isRemoved(group));
  });
  return { gateway, logic };
}

function isRemoved(group: MemoryCgroup): boolean {
  try {
    group.remove();
    return true;
  } catch {
    return false;
  }
}
