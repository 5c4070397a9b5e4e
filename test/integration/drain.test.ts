import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { Connection, cutAll } from '../harness/connection.ts';
import { CountedMoves } from '../harness/countedMoves.ts';
import { Lateness } from '../harness/lateness.ts';
import { openMany } from '../harness/manyConnections.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { isFree } from '../harness/ports.ts';
import { type GatewayProcess, isAlive, startGateway, startLogic } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

/** What it may take beside the time that it is given, milliseconds, and beside what this machine is late. */
const SLACK_MS = 5_000;

describe('a gateway that gets SIGTERM', () => {
  it('accepts a little longer, then moves everyone away at its pace, each told why, and ends with 0', async (t) => {
    const rate = 100;
    const gateway = await start(t, { settle: '10s', timeout: '40s', rate });
    const plain = await connect(gateway, 'plain', 300);
    const movers = await connect(gateway, 'v1', 260);
    const stayers = await connect(gateway, 'deflate', 40);
    for (const connection of movers) connection.onReconnect = () => connection.close();
    await gateway.holds(600);

    const began = performance.now();
    const lateness = Lateness.during(t);
    const counted = CountedMoves.of([gateway]);
    gateway.signal('SIGTERM');
    await until('it says so', async () => (await gateway.metrics()).sum('pushcluster_gateway_draining') === 1);
    assert.equal(await gateway.probe('/readyz'), 200, 'it still accepts, so it is ready');
    const late = await connect(gateway, 'plain', 5);
    const everyone = [...plain, ...late, ...movers, ...stayers];
    assert.ok(everyone.every(({ closed, reconnectAt }) => closed === undefined && reconnectAt === undefined));
    await until('it accepts no more', () => isRefused(gateway));
    const accepted = performance.now() - began;
    assert.ok(accepted >= 9_900, `it accepted for ${accepted} ms`);

    const exit = await gateway.exit;
    assert.equal(exit.code, 0);
    const took = exit.at - began;
    await counted.stop();
    assert.ok(took < 40_000 + SLACK_MS + lateness.total, 'by the deadline');
    await until('everyone sees it', () => everyone.every(({ closed }) => closed !== undefined));
    const moved = movers.map((connection) => connection.closing!.at - began);
    t.diagnostic(`all gone after ${Math.round(took)} ms, the movers by ${Math.round(Math.max(...moved))} ms`);
    for (const { closed } of [...plain, ...late]) assert.equal(closed, 1012);
    for (const { closed, reconnectAt } of movers) assert.ok(closed !== 1006 && reconnectAt !== undefined);
    for (const { closing, reconnectAt = 0, reconnectWithin = 0 } of stayers) {
      assert.equal(closing?.code, 1012);
      assert.ok(
        closing.at - reconnectAt >= reconnectWithin - 50 - lateness.longest,
        'they had the time that they were promised',
      );
    }
    const { share, text } = counted.fastest(rate);
    t.diagnostic(`${everyone.length} closures, ${counted.total} seen; fastest: ${text}`);
    assert.ok(counted.total > 0.8 * everyone.length, 'the pace was seen');
    assert.ok(share <= 1.2, text);
  });

  it('raises the pace as needed to be done in time', async (t) => {
    const gateway = await start(t, { settle: 0, timeout: '8s', rate: 5 });
    const connections = [...(await connect(gateway, 'plain', 150)), ...(await connect(gateway, 'v1', 150))];
    const began = performance.now();
    const lateness = Lateness.during(t);
    const counted = CountedMoves.of([gateway]);
    gateway.signal('SIGTERM');
    const exit = await gateway.exit;
    await counted.stop();
    assert.equal(exit.code, 0);
    assert.ok(exit.at - began < 8_000 + SLACK_MS + lateness.total, `after ${exit.at - began} ms`);
    await until('everyone sees it', () => connections.every(({ closed }) => closed !== undefined));
    assert.ok(connections.every(({ closed }) => closed === 1012));
    // They are spread over the time that there is.
    const { share, text } = counted.fastest(200);
    t.diagnostic(`gone after ${Math.round(exit.at - began)} ms; fastest: ${text}`);
    assert.ok(share <= 1.2, text);
  });

  it('is not held up by peers that read nothing', async (t) => {
    const nats = await startNatsServer();
    const logic = await startLogic({ nats: [nats.url] });
    t.after(async () => {
      await logic.stop();
      await nats.stop();
    });
    const gateway = await start(t, { settle: 0, timeout: '4s' }, nats.url);
    const stuck = [...(await connect(gateway, 'plain', 5)), ...(await connect(gateway, 'v1', 5))];
    for (const connection of stuck) {
      await connection.join('r');
      connection.pause();
    }
    const item = JSON.stringify(randomBytes(24_000).toString('base64'));
    const dropped = async () => (await gateway.metrics()).sum('pushcluster_gateway_messages_dropped_total');
    await until('their buffers are full', async () => {
      await logic.push({ room: 'r' }, new Array(8).fill(item));
      return (await dropped()) > 1_000;
    });
    const others = await connect(gateway, 'plain', 20);
    const began = performance.now();
    const lateness = Lateness.during(t);
    gateway.signal('SIGTERM');
    const exit = await gateway.exit;
    assert.equal(exit.code, 0);
    assert.ok(exit.at - began < 4_000 + SLACK_MS + lateness.total, `after ${exit.at - began} ms`);
    await until('the others see it', () => others.every(({ closed }) => closed !== undefined));
    assert.ok(others.every(({ closed }) => closed === 1012));
    cutAll(stuck);
  });

  it('ends as soon as everyone is gone', async (t) => {
    const gateway = await start(t, { settle: 0, timeout: '60s' });
    const began = performance.now();
    const lateness = Lateness.during(t);
    gateway.signal('SIGTERM');
    const exit = await gateway.exit;
    assert.equal(exit.code, 0);
    // Far from its timeout.
    assert.ok(exit.at - began < 15_000 + lateness.total, `after ${exit.at - began} ms`);
  });

  it('ends at once at a second signal, and so do its shards', async (t) => {
    const gateway = await start(t, { settle: '30s', timeout: '60s' });
    const connections = await connect(gateway, 'plain', 20);
    const shards = gateway.shardPids;
    gateway.signal('SIGTERM');
    await until('it leaves', async () => (await gateway.metrics()).sum('pushcluster_gateway_draining') === 1);
    gateway.signal('SIGTERM');
    // That it didn't end in its own way is what its code says.
    assert.equal((await gateway.exit).code, 143);
    await until('its shards are gone', () => !shards.some(isAlive));
    await until('its clients see it', () => connections.every(({ closed }) => closed !== undefined));
    assert.ok(await isFree(gateway.port));
  });
});

async function start(
  t: TestContext,
  drain: NonNullable<SettingsInput['gateway']>['drain'],
  nats?: string,
): Promise<GatewayProcess> {
  const gateway = await startGateway({
    settings: { gateway: { shards: 2, batching: { maxDelay: 100 }, drain } },
    ...(nats === undefined ? {} : { nats: [nats] }),
  });
  t.after(async () => {
    await gateway.kill();
    gateway.folder.remove();
  });
  return gateway;
}

function connect({ port }: GatewayProcess, form: Connection['form'], count: number): Promise<Connection[]> {
  return openMany(count, () => Connection.open({ port, form }));
}

async function isRefused({ port }: GatewayProcess): Promise<boolean> {
  try {
    (await Connection.open({ port })).cut();
    return false;
  } catch {
    return true;
  }
}
