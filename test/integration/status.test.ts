import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { Stat } from '@pushcluster/protocol/control.ts';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { VERSION } from '@pushcluster/runtime/version.ts';
import { Connection } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { startStandalone } from '../harness/standalone.ts';
import { until } from '../harness/until.ts';

describe('what gateway and logic tell the operator', () => {
  let nats: NatsServer;
  let gateway: GatewayProcess;
  let logic: LogicProcess;

  before(async () => {
    nats = await startNatsServer();
    process.env.POD_TEMPLATE = '5f7d8c';
    const options = { settings: { gateway: { shards: 2, batching: { maxDelay: 0 } } }, nats: [nats.url] };
    [gateway, logic] = await Promise.all([startGateway(options), startLogic({ nats: [nats.url] })]);
    delete process.env.POD_TEMPLATE;
  });
  after(async () => {
    await Promise.all([gateway.stop(), logic.stop()]);
    await nats.stop();
  });

  it('is who they are, what they run, how full they are, and whether they have their bus', async (t) => {
    const digest = (settings: object) => createHash('sha256').update(JSON.stringify(settings)).digest('hex');
    const connections = await Promise.all([1, 2, 3].map(() => Connection.open({ port: gateway.port })));
    t.after(() => connections.map((connection) => connection.cut()));
    await until('they are counted', async () => (await gateway.status()).connections === 3);
    const first = await gateway.status();
    assert.equal(first.version, VERSION);
    assert.equal(first.role, 'gateway');
    assert.ok(first.name.startsWith(hostname().replace(/[^A-Za-z0-9_-]/g, '-')));
    assert.deepEqual(first.settings, { generation: 1, file: digest(gateway.settings) });
    assert.ok(first.fds.limit > first.fds.open && first.fds.open >= 3, JSON.stringify(first.fds));
    assert.deepEqual(first.bus, { connected: true });
    await connections[0]!.join('r');
    assert.equal((await logic.push({ room: 'r' }, ['"hello"'])).status, 202);
    await until('bytes are counted', async () => ((await gateway.status()).bytesSentTotal ?? 0) > 20);

    const ofLogic = await logic.status();
    assert.deepEqual([ofLogic.role, ofLogic.draining, ofLogic.connections], ['logic', false, undefined]);
    assert.ok(ofLogic.fds.limit > ofLogic.fds.open && ofLogic.fds.open > 3);
    assert.deepEqual(ofLogic.settings, { generation: 1, file: digest(logic.settings) });
  });

  it('is how many files it may open, also while a shard begins anew', async () => {
    const { fds } = await gateway.status();
    const [killed] = gateway.shardPids;
    assert.ok(killed !== undefined);
    process.kill(killed, 'SIGKILL');
    await until('another is there', async () => {
      assert.equal((await gateway.status()).fds.limit, fds.limit);
      return gateway.shardPids.length === 2 && !gateway.shardPids.includes(killed);
    });
  });

  it('is why a changed file was refused, as long as it is', async () => {
    const { file } = (await gateway.status()).settings;
    gateway.folder.swap('{"gatway":{}}');
    await until('it is told', async () => (await gateway.status()).settings.refused !== undefined);
    assert.deepEqual((await gateway.status()).settings, {
      generation: 1,
      file,
      refused: 'gatway: unknown key, did you mean "gateway"?',
    });
    await gateway.configure({ gateway: { drain: { rate: 7 } } });
    const { generation, refused } = (await gateway.status()).settings;
    assert.deepEqual([generation, refused], [2, undefined]);
  });

  it('is on the bus as well, for other gateways: what it is an instance of, and who was not asked to go', async (t) => {
    const settings = Settings.parse({ bus: { nats: { servers: [nats.url] } } });
    const bus = openBus(settings.bus, { log: createLog('test', 'error'), name: 'test' });
    t.after(() => bus.close());
    const stats: Stat[] = [];
    bus.subscribe(new Subjects(settings.bus.prefix).everyStat, (bytes) =>
      stats.push(Stat.parse(JSON.parse(Buffer.from(bytes).toString()))),
    );
    await until('it reports', () => stats.length > 0);
    const [stat] = stats;
    assert.equal(stat?.template, `${VERSION} 5f7d8c`);
    assert.equal(typeof stat.unasked, 'number');
    assert.deepEqual([stat.draining, stat.rebalancing, stat.leaving], [false, false, false]);
  });

  it('is one process of both kinds as well: a gateway', async (t) => {
    const standalone = await startStandalone();
    t.after(() => standalone.stop());
    const status = PodStatus.parse(await (await fetch(`${standalone.admin}/status`)).json());
    assert.deepEqual([status.role, status.settings.generation], ['gateway', 1]);
    assert.equal(status.settings.file, createHash('sha256').digest('hex'));
  });

  it('is that the bus is away', async () => {
    await nats.stop();
    await until('they say so', async () => {
      const all = await Promise.all([gateway.status(), logic.status()]);
      return all.every(({ bus }) => !bus.connected);
    });
  });
});
