import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { busSettings, managedNats } from '@pushcluster/operator/pushcluster/desired/bus.ts';
import { natsConfig } from '@pushcluster/operator/pushcluster/desired/natsConfig.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const passwords = { gateway: 'of "gateways"', logic: 'of logic\n', routes: 'of routes' };
const cluster = PushCluster.parse({
  metadata: { name: 'live', namespace: 'shop', uid: 'uid' },
  spec: { nats: { prefix: 'shop.live' } },
});
const subjects = new Subjects('shop.live');

describe('a managed NATS server with the configuration that the operator writes', () => {
  let folder: string;
  let server: NatsServer;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pushcluster-managed-'));
    // Ports and the name are those of a pod.
    const config = natsConfig(cluster, managedNats(cluster)!, passwords).replace(/^(port|http|server_name): .*$/gm, '');
    server = await startNatsServer({ config });
  });
  after(async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function busOf(t: TestContext, role: 'gateway' | 'logic'): Promise<Bus> {
    const passwordFile = join(folder, role);
    await writeFile(passwordFile, passwords[role]);
    const { nats, ...rest } = busSettings(cluster, role) ?? {};
    const { bus: settings } = Settings.parse({
      bus: { ...rest, nats: { ...nats, servers: [server.url], passwordFile } },
    });
    const bus = openBus(settings, { log: logLines().log, name: role, receiptTimeout: PATIENCE_MS });
    t.after(() => bus.close());
    await until('the bus is connected', () => bus.connected);
    return bus;
  }

  it('lets each role say and hear what it needs', async (t) => {
    const [gateway, logic] = await Promise.all([busOf(t, 'gateway'), busOf(t, 'logic')]);
    const got: string[] = [];
    const listen = (bus: Bus, subject: string) => bus.subscribe(subject, (_bytes, at) => got.push(at)).ready;
    await Promise.all([
      ...[subjects.all, subjects.user, subjects.room('a b'), subjects.command, subjects.session].map((subject) =>
        listen(gateway, subject),
      ),
      ...[subjects.everyStat, subjects.reply('a')].map((subject) => listen(logic, subject)),
    ]);
    const pushed = [subjects.all, subjects.user, subjects.room('a b'), subjects.command];
    const told = [subjects.stat('g'), subjects.reply('a'), subjects.session];
    for (const subject of pushed) logic.publish(subject, new Uint8Array(1));
    for (const subject of told) gateway.publish(subject, new Uint8Array(1));
    await Promise.all([logic.flush(), gateway.flush()]);
    await until('all arrived', () => got.length === pushed.length + told.length);
    assert.deepEqual(got.sort(), [...pushed, ...told].sort());
  });

  it('refuses a push by a gateway', async (t) => {
    const gateway = await busOf(t, 'gateway');
    gateway.publish(subjects.all, new Uint8Array(1));
    await assert.rejects(gateway.flush(), /refuses a publish on shop\.live\.out\.all/);
  });
});

describe('three managed NATS servers', () => {
  it('find each other with the configuration that the operator writes', async (t) => {
    const three = PushCluster.parse({ ...cluster, spec: { nats: { managed: { replicas: 3 } } } });
    const ports = await freePorts(3);
    const text = ports.reduce(
      (config, port, i) => config.replace(`live-nats-${i}.live-nats-peers.shop.svc:6222`, `127.0.0.1:${port}`),
      natsConfig(three, managedNats(three)!, passwords).replace(/^(port|http|server_name): .*$/gm, ''),
    );
    const servers = await Promise.all(
      ports.map((port, i) =>
        startNatsServer({ config: `server_name: live-nats-${i}\n${text.replace('port: 6222', `port: ${port}`)}` }),
      ),
    );
    t.after(() => Promise.all(servers.map((server) => server.stop())));
    await until('each has routes to both others', async () => {
      const routes = await Promise.all(
        servers.map(async ({ monitorUrl }) => (await fetch(`${monitorUrl}/routez`)).text()),
      );
      return routes.every((known) => new Set(known.match(/"remote_name": *"live-nats-\d"/g)).size === 2);
    });
  });
});
