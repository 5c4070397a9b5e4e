import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { managedNats } from '@pushcluster/operator/pushcluster/desired/bus.ts';
import { natsConfig } from '@pushcluster/operator/pushcluster/desired/natsConfig.ts';
import { settingsOf } from '@pushcluster/operator/pushcluster/desired/settingsConfigMap.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { HistoryMissing, type HistoryRules, type HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const passwords = { gateway: 'of gateways', logic: 'of logic', routes: 'of routes' };
const subjects = new Subjects('shop.live');
const MATCH = 'chat-*';

function clusterOf(jetstream: object, replicas: 1 | 3 = 1): PushCluster {
  return PushCluster.parse({
    metadata: { name: 'live', namespace: 'shop', uid: 'uid' },
    spec: {
      nats: { prefix: 'shop.live', managed: { replicas, jetstream } },
      rooms: [{ match: MATCH, history: { messages: 5_000, replicas } }],
    },
  });
}

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pushcluster-managed-'));
  await Promise.all((['gateway', 'logic'] as const).map((role) => writeFile(join(folder, role), passwords[role])));
});
after(() => rm(folder, { recursive: true, force: true }));

/** The configuration that the operator writes, with ports and a folder of this machine. */
function configOf(cluster: PushCluster, index: number, ports: readonly number[], store: string): string {
  const text = natsConfig(cluster, managedNats(cluster)!, passwords)
    .replace(/^(port|http|server_name): .*$/gm, '')
    .replace(/live-nats-(\d)\.live-nats-peers\.shop\.svc:6222/g, (_, i) => `127.0.0.1:${ports[Number(i)]}`)
    .replace('port: 6222', `port: ${ports[index]}`)
    .replace('lame_duck_grace_period: "10s"', 'lame_duck_grace_period: "2s"')
    .replace('/var/lib/pushcluster', join(folder, store));
  return `server_name: live-nats-${index}\n${text}`;
}

type Ends = { bus: Bus; history: HistoryStore; rules: HistoryRules };

/** The bus and the histories of a pod, with the settings that the operator writes. */
async function open(
  t: TestContext,
  cluster: PushCluster,
  role: 'gateway' | 'logic',
  servers: readonly NatsServer[],
): Promise<Ends> {
  const { bus: written, ...rest } = settingsOf(cluster, role);
  const urls = servers.map(({ url }) => url);
  const nats = { ...written?.nats, servers: urls, passwordFile: join(folder, role) };
  const settings = Settings.parse({ ...rest, bus: { ...written, nats } });
  const bus = openBus(settings.bus, { log: logLines().log, name: role, receiptTimeout: PATIENCE_MS });
  const history = openHistory(settings.bus, bus, role);
  t.after(async () => {
    history.close();
    await bus.close();
  });
  await until('the bus is connected', () => bus.connected);
  const policy = settings.rooms[0]!;
  return { bus, history, rules: { match: policy.match, ...policy.history!, storage: settings.history.storage } };
}

const bytesOf = (text: string) => Buffer.from(text);

async function textsOf({ history }: Ends, room: string): Promise<string[]> {
  const { pushes } = await history.read(MATCH, room, 0, 1_000);
  return pushes.map(({ bytes }) => Buffer.from(bytes).toString());
}

for (const storage of ['memory', 'file'] as const)
  describe(`a managed NATS server that stores in ${storage}, with the configuration that the operator writes`, () => {
    const cluster = clusterOf({ storage, size: '16MiB' });
    let server: NatsServer;
    before(async () => {
      server = await startNatsServer({ config: configOf(cluster, 0, [], storage) });
    });
    after(() => server.stop());

    it('lets logic store pushes, which reach gateways with their numbers, and gateways read them', async (t) => {
      const [gateway, logic] = await Promise.all([
        open(t, cluster, 'gateway', [server]),
        open(t, cluster, 'logic', [server]),
      ]);
      assert.deepEqual(logic.rules, { ...gateway.rules, storage });
      const got: string[] = [];
      await gateway.bus.subscribe(subjects.room('chat-1'), (bytes) => got.push(Buffer.from(bytes).toString())).ready;
      await logic.history.ensure(logic.rules);
      const { seq } = await logic.history.append(MATCH, 'chat-1', bytesOf('hello'), 'a');
      await until('it arrived', () => got.length === 1);
      assert.deepEqual(await textsOf(gateway, 'chat-1'), ['hello']);
      assert.deepEqual((await gateway.history.heads(MATCH, ['chat-1'], 0)).seqs, new Map([['chat-1', seq]]));
      assert.equal((await gateway.history.state(MATCH)).last, seq);
      // The second logic pod, and the one that finds other limits.
      await logic.history.ensure({ ...logic.rules, messages: 50 });
      assert.equal((await gateway.history.state(MATCH)).messages, 50);
    });

    it('permits a gateway no push, neither to a room nor into its history, and no change of a history', async (t) => {
      const gateway = await open(t, cluster, 'gateway', [server]);
      const stream = gateway.history.streamOf(MATCH);
      const refused = [
        subjects.room('chat-1'),
        'shop.live.hist.12345678.chat-1',
        ...['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE', 'LEADER.STEPDOWN'].map(
          (call) => `$JS.API.STREAM.${call}.${stream}`,
        ),
        `$JS.API.CONSUMER.CREATE.${stream}`,
        '$JS.API.STREAM.NAMES',
      ];
      for (const subject of refused) {
        gateway.bus.publish(subject, new Uint8Array(1));
        await assert.rejects(gateway.bus.flush(), /refuses a publish on/, subject);
      }
    });

    it('permits logic neither to delete a history nor to read what others ask', async (t) => {
      const logic = await open(t, cluster, 'logic', [server]);
      for (const call of ['DELETE', 'PURGE', 'MSG.DELETE', 'RESTORE']) {
        logic.bus.publish(`$JS.API.STREAM.${call}.${logic.history.streamOf(MATCH)}`, new Uint8Array(1));
        await assert.rejects(logic.bus.flush(), /refuses a publish on/, call);
      }
    });
  });

describe('a managed NATS server whose storage is full', () => {
  it('refuses pushes for the time being, and still gives what it has', async (t) => {
    const cluster = clusterOf({ storage: 'memory', size: '16MiB' });
    const server = await startNatsServer({ config: configOf(cluster, 0, [], 'full') });
    t.after(() => server.stop());
    const logic = await open(t, cluster, 'logic', [server]);
    await logic.history.ensure(logic.rules);
    const push = Buffer.alloc(500_000, 'x');
    const fill = async () => {
      for (let i = 0; i < 40; i++) await logic.history.append(MATCH, 'chat-1', push, `${i}`);
    };
    await assert.rejects(fill(), BusUnavailable);
    const { last } = await logic.history.state(MATCH);
    assert.ok(last > 20 && last < 40, String(last));
    assert.equal((await logic.history.read(MATCH, 'chat-1', last, 1)).pushes[0]?.seq, last);
  });
});

describe('three managed NATS servers that store in memory', () => {
  const cluster = clusterOf({ storage: 'memory' }, 3);
  let ports: number[];
  let servers: NatsServer[];
  let stores = 0;
  // Of a new pod, the folder is empty.
  const config = (i: number) => configOf(cluster, i, ports, `three-${stores++}`);
  const isHealthy = async ({ monitorUrl }: NatsServer) => (await fetch(`${monitorUrl}/healthz`)).ok;
  before(async () => {
    ports = await freePorts(3);
    servers = await Promise.all(ports.map((_, i) => startNatsServer({ config: config(i) })));
    for (const server of servers) await until('it has started', () => isHealthy(server));
  });
  after(() => Promise.all(servers.map((server) => server.stop())));

  it('keep a history with three copies while they are restarted one by one, as Kubernetes does', async (t) => {
    const logic = await open(t, cluster, 'logic', servers);
    assert.equal(logic.rules.replicas, 3);
    await logic.history.ensure(logic.rules);
    const { epoch } = await logic.history.state(MATCH);
    const texts = Array.from({ length: 200 }, (_, i) => `push ${i}`);
    for (const text of texts) await logic.history.append(MATCH, 'chat-1', bytesOf(text), text);
    for (const [i, server] of servers.entries()) {
      await server.lameDuck({ config: config(i) });
      await until('it has caught up', () => isHealthy(server));
    }
    await until('logic is connected', () => logic.bus.connected);
    assert.equal((await logic.history.state(MATCH)).epoch, epoch);
    assert.deepEqual(await textsOf(logic, 'chat-1'), texts);
  });

  it('begin a history anew when all of them restart', async (t) => {
    const logic = await open(t, cluster, 'logic', servers);
    await Promise.all(servers.map((server, i) => server.restart({ config: config(i) })));
    for (const server of servers) await until('it has started', () => isHealthy(server));
    await until('logic is connected', () => logic.bus.connected);
    await assert.rejects(logic.history.state(MATCH), HistoryMissing);
    await logic.history.ensure(logic.rules);
    assert.equal((await logic.history.state(MATCH)).last, 0);
  });
});
