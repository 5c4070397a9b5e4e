import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
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
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { parse } from 'yaml';
import { logLines } from '../harness/logLines.ts';
import { createOperatorMode } from '../harness/natsAccounts.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { saidPermissions } from '../harness/saidPermissions.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const passwords = { gateway: 'of gateways', logic: 'of logic', routes: 'of routes' };
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
    .replace(/\/var\/lib\/pushcluster\/\d/, join(folder, store));
  return `server_name: live-nats-${index}\n${text}`;
}

type Ends = { bus: Bus; history: HistoryStore; rules: HistoryRules };

/**
 * The bus and the histories of a pod, with the settings that the operator writes.
 * @param credential file in place of that of the role's password
 */
async function open(
  t: TestContext,
  cluster: PushCluster,
  role: 'gateway' | 'logic',
  servers: readonly NatsServer[],
  credential: object = { passwordFile: join(folder, role) },
): Promise<Ends> {
  const { bus: written, ...rest } = settingsOf(cluster, role);
  const { tls: _, ...nats } = written?.nats ?? {};
  const reached = { ...nats, servers: servers.map(({ url }) => url), ...credential };
  const settings = Settings.parse({ ...rest, bus: { ...written, nats: reached } });
  const bus = openBus(settings.bus, { log: logLines().log, name: role, receiptTimeout: PATIENCE_MS });
  const history = openHistory(settings.bus, bus, role);
  t.after(async () => {
    history.close();
    await bus.close();
  });
  await until('the bus is connected', () => bus.connected);
  const [policy] = settings.rooms;
  assert.ok(policy?.history);
  return {
    bus,
    history,
    rules: { match: policy.match, ...policy.history, storage: settings.history.storage, earlier: [] },
  };
}

const bytesOf = (text: string) => Buffer.from(text);

async function textsOf({ history }: Ends, room: string): Promise<string[]> {
  const { pushes } = await history.read(MATCH, room, 0, 1_000);
  return pushes.map(({ bytes }) => Buffer.from(bytes).toString());
}

/** A NATS with a role's credentials, as a PushCluster uses it. */
type Nats = {
  cluster: PushCluster;
  start: () => Promise<NatsServer>;
  credentials?: (role: 'gateway' | 'logic') => object;
};

function managed(storage: 'memory' | 'file'): Nats {
  const cluster = clusterOf({ storage, size: '16MiB' });
  return { cluster, start: () => startNatsServer({ config: configOf(cluster, 0, [], storage) }) };
}

/** The example, with one server, to which its users and their permissions were added. */
function external(): Nats {
  const text = readFileSync(new URL('../../examples/external-nats.yaml', import.meta.url), 'utf8');
  const example = PushCluster.parse(withNamespace(parse(text)));
  const rooms = example.spec.rooms.map((policy) => ({
    ...policy,
    history: { ...policy.history!, replicas: 1 as const },
  }));
  const cluster = { ...example, spec: { ...example.spec, rooms } };
  const { config, creds } = createOperatorMode({ jetstream: true });
  const said = saidPermissions(example.spec.nats.prefix, historyStream(example.spec.nats.prefix!, MATCH).name);
  const credentials = (role: 'gateway' | 'logic') => {
    const credsFile = join(folder, `${role}.creds`);
    writeFileSync(credsFile, creds(said[role]));
    return { credsFile };
  };
  return { cluster, start: () => startNatsServer({ jetstream: true, config }), credentials };
}

function withNamespace(object: { metadata: object }) {
  return { ...object, metadata: { ...object.metadata, namespace: 'shop', uid: 'uid' } };
}

const natsOf: Record<string, () => Nats> = {
  'a managed server that stores in memory, with the configuration that the operator writes': () => managed('memory'),
  'a managed server that stores in a file, with the configuration that the operator writes': () => managed('file'),
  'servers of others, with the permissions that the example says': external,
};

for (const [what, natsFor] of Object.entries(natsOf))
  describe(`rooms with history on ${what}`, () => {
    let nats: Nats;
    let server: NatsServer;
    let subjects: Subjects;
    before(async () => {
      nats = natsFor();
      subjects = new Subjects(nats.cluster.spec.nats.prefix ?? '');
      server = await nats.start();
    });
    after(() => server.stop());

    const as = (t: TestContext, role: 'gateway' | 'logic') =>
      open(t, nats.cluster, role, [server], nats.credentials?.(role));

    it('are stored by logic, reach gateways, and can be read by them', async (t) => {
      const [gateway, logic] = await Promise.all([as(t, 'gateway'), as(t, 'logic')]);
      const { storage: _, ...rules } = gateway.rules;
      assert.deepEqual(logic.rules, {
        ...rules,
        storage: nats.cluster.spec.nats.managed?.jetstream?.storage ?? 'file',
      });
      const got: string[] = [];
      await gateway.bus.subscribe(subjects.room('chat-1'), (bytes) => got.push(Buffer.from(bytes).toString())).ready;
      await logic.history.ensure(logic.rules);
      const { seq } = await logic.history.append(MATCH, 'chat-1', bytesOf('hello'), 'a');
      await until('it arrived', () => got.length === 1);
      assert.deepEqual(await textsOf(gateway, 'chat-1'), ['hello']);
      assert.equal((await gateway.history.read(MATCH, 'chat-1', 0, 1, true)).pushes.length, 1);
      assert.deepEqual((await gateway.history.heads(MATCH, ['chat-1'], 0)).seqs, new Map([['chat-1', seq]]));
      assert.equal((await gateway.history.state(MATCH)).last, seq);
      await logic.history.ensure({ ...logic.rules, messages: 50 });
      assert.equal((await gateway.history.state(MATCH)).messages, 50);
    });

    it('get no push by a gateway, neither to their members nor into the history, and no change', async (t) => {
      const { bus, history } = await as(t, 'gateway');
      const stream = history.streamOf(MATCH);
      const calls = ['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE', 'LEADER.STEPDOWN'];
      for (const subject of [
        subjects.room('chat-1'),
        historyStream(nats.cluster.spec.nats.prefix!, MATCH).subjects.replace('*', 'chat-1'),
        ...calls.map((call) => `$JS.API.STREAM.${call}.${stream}`),
        `$JS.API.CONSUMER.CREATE.${stream}`,
        '$JS.API.STREAM.NAMES',
      ]) {
        bus.publish(subject, new Uint8Array(1));
        await assert.rejects(bus.flush(), /refuses a publish on/, subject);
      }
    });

    it('cannot be deleted by logic', async (t) => {
      const { bus, history } = await as(t, 'logic');
      for (const call of ['DELETE', 'PURGE', 'MSG.DELETE', 'RESTORE']) {
        bus.publish(`$JS.API.STREAM.${call}.${history.streamOf(MATCH)}`, new Uint8Array(1));
        await assert.rejects(bus.flush(), /refuses a publish on/, call);
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
