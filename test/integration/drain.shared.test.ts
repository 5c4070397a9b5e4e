import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Connection } from '../harness/connection.ts';
import { CountedMoves } from '../harness/countedMoves.ts';
import { Lateness } from '../harness/lateness.ts';
import { openMany } from '../harness/manyConnections.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

type Drain = NonNullable<SettingsInput['gateway']>['drain'];

describe('gateways that leave together', () => {
  let nats: NatsServer;

  before(async () => {
    nats = await startNatsServer();
  });
  after(() => nats.stop());

  async function start(t: TestContext, drains: readonly Drain[]): Promise<GatewayProcess[]> {
    const gateways = await Promise.all(
      drains.map((drain) =>
        startGateway({ settings: { gateway: { shards: 1, batching: { maxDelay: 100 }, drain } }, nats: [nats.url] }),
      ),
    );
    t.after(async () => {
      await Promise.all(gateways.map((gateway) => gateway.kill()));
      for (const { folder } of gateways) folder.remove();
    });
    const peersOf = async (gateway: GatewayProcess) => (await gateway.metrics()).sum('pushcluster_gateway_peers');
    await until('they know each other', async () =>
      (await Promise.all(gateways.map(peersOf))).every((peers) => peers === gateways.length - 1),
    );
    return gateways;
  }

  it('keep to one pace, whether they begin at once or one later', async (t) => {
    const rate = 50;
    const gateways = await start(t, new Array(3).fill({ settle: '1s', timeout: '60s', rate }));
    const connections: Connection[] = [];
    for (const { port } of gateways) {
      connections.push(...(await openMany(100, () => Connection.open({ port, form: 'plain' }))));
      connections.push(...(await openMany(100, () => Connection.open({ port, form: 'v1' }))));
    }
    for (const connection of connections) connection.onReconnect = () => connection.close();
    const began = performance.now();
    const lateness = new Lateness();
    const counted = CountedMoves.of(gateways);
    for (const gateway of gateways.slice(0, 2)) gateway.signal('SIGTERM');
    await until('two move', () => connections.filter(({ closed }) => closed !== undefined).length > 100);
    gateways[2]!.signal('SIGTERM');
    const exits = await Promise.all(gateways.map((gateway) => gateway.exit));
    assert.deepEqual(
      exits.map(({ code }) => code),
      [0, 0, 0],
    );
    await counted.stop();
    await until('everyone sees it', () => connections.every(({ closed }) => closed !== undefined));
    lateness.stop();
    assert.ok(connections.every(({ closed }) => closed !== 1006));
    const took = (Math.max(...connections.map(({ closing }) => closing!.at)) - began) / 1_000;
    const { share, text } = counted.fastest(rate, gateways.length);
    t.diagnostic(
      `${connections.length} closures by 3 gateways in ${took.toFixed(1)} s, ${counted.total} seen; fastest: ${text}`,
    );
    assert.ok(counted.total > 0.8 * connections.length, 'the pace was seen');
    assert.ok(share <= 1.2, text);
    // Whoever is done leaves the pace to the others.
    assert.ok(took < (600 / rate) * 1.4 + 2 + lateness.total / 1_000, `${took} s`);
  });

  it('rise above it where their own deadline demands, each by itself', async (t) => {
    const rate = 10;
    const gateways = await start(t, [
      { settle: 0, timeout: '8s', rate },
      { settle: 0, timeout: '60s', rate },
    ]);
    const [hurried = [], patient = []] = await Promise.all(
      gateways.map(({ port }, i) => openMany([160, 40][i]!, () => Connection.open({ port, form: 'plain' }))),
    );
    const began = performance.now();
    const lateness = new Lateness();
    const counted = gateways.map((gateway) => CountedMoves.of([gateway]));
    for (const gateway of gateways) gateway.signal('SIGTERM');
    const exit = await gateways[0]!.exit;
    assert.ok(exit.at - began < 9_000 + lateness.total, `after ${exit.at - began} ms`);
    await until('everyone there sees it', () => hurried.every(({ closed }) => closed === 1012));
    // From then on the whole pace is the other's.
    const done = Math.max(...hurried.map(({ closing }) => closing!.at));
    const meanwhile = patient.filter(({ closing }) => closing !== undefined && closing.at <= done).length;
    const seconds = (done - began) / 1_000;
    t.diagnostic(`${meanwhile} of the other left in ${seconds.toFixed(1)} s; its part is ${rate / 2} a second`);
    const late = (rate * lateness.longest) / 1_000;
    assert.ok(meanwhile <= (rate / 2) * seconds * 1.2 + 2 + late, `${meanwhile} left meanwhile`);
    await gateways[1]!.exit;
    await until('all see it', () => patient.every(({ closed }) => closed === 1012));
    lateness.stop();
    await Promise.all(counted.map((each) => each.stop()));
    const [above, within] = counted.map((each) => each.fastest(rate));
    t.diagnostic(`fastest: ${above?.text}; the other: ${within?.text}`);
    assert.ok(within && within.share <= 1.2, within?.text);
  });
});
