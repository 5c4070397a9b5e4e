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
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import type { HistoryRules, HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
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
  });
