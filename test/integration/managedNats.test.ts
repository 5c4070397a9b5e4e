import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { busSettings, managedNats } from '@pushcluster/operator/pushcluster/desired/bus.ts';
import { contextOf } from '@pushcluster/operator/pushcluster/desired/fixture.ts';
import { natsStatefulSet } from '@pushcluster/operator/pushcluster/desired/nats.ts';
import { natsConfig } from '@pushcluster/operator/pushcluster/desired/natsConfig.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus, BusEvent } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { createAuthority } from '../harness/certificates.ts';
import { logLines } from '../harness/logLines.ts';
import { Metrics } from '../harness/metrics.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const run = promisify(execFile);
const NATS_SCRIPT = new URL('../../scripts/nats-server.sh', import.meta.url).pathname;

/** Its module is not built here: the test needs the program of the project's releases. */
const EXPORTER = 'prometheus-nats-exporter';

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

  const open = (t: TestContext, role: 'gateway' | 'logic') => busOf(t, { cluster, role, folder, urls: [server.url] });

  it('lets each role say and hear what it needs', async (t) => {
    const [gateway, logic] = await Promise.all([open(t, 'gateway'), open(t, 'logic')]);
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
    const gateway = await open(t, 'gateway');
    gateway.publish(subjects.all, new Uint8Array(1));
    await assert.rejects(gateway.flush(), /refuses a publish on shop\.live\.out\.all/);
  });
});

describe("NATS's own exporter beside a managed server", () => {
  it('exports the metrics of the server, also where its clients need TLS', async (t) => {
    const program = await run('which', [EXPORTER]).catch(() => undefined);
    if (program === undefined) return t.skip(`${EXPORTER} is not in the PATH`);
    const secure = PushCluster.parse({
      ...cluster,
      spec: { nats: { prefix: 'shop.live', managed: { tls: { enabled: true }, exporter: { enabled: true } } } },
    });
    const [nats, folder] = [managedNats(secure)!, await mkdtemp(join(tmpdir(), 'pushcluster-managed-'))];
    const authority = await createAuthority();
    const { certFile, keyFile } = await authority.issue('IP:127.0.0.1');
    const text = natsConfig(secure, nats, passwords, {
      ...{ isOptional: false, routes: true, secretName: 'live-nats-tls', fingerprint: 'f' },
    });
    const config = text
      .replace(/^(port|http|server_name): .*$/gm, '')
      .replaceAll('/etc/pushcluster/tls/tls.crt', certFile)
      .replaceAll('/etc/pushcluster/tls/tls.key', keyFile);
    const server = await startNatsServer({ config });
    const { containers } = natsStatefulSet(secure, nats, { ...passwords, apiKey: '' }, contextOf()).spec!.template
      .spec!;
    const [port] = await freePorts(1);
    const args = containers[1]!.args!.map((argument) =>
      argument
        .replace(/^7777$/, String(port))
        .replace('$(POD_NAME)', 'live-nats-0')
        .replace('http://localhost:8222', server.monitorUrl),
    );
    const exporter = spawn(program.stdout.trim(), ['-addr', '127.0.0.1', ...args], { stdio: 'ignore' });
    t.after(async () => {
      exporter.kill();
      await Promise.all([server.stop(), authority.remove(), rm(folder, { recursive: true, force: true })]);
    });
    const url = server.url.replace('nats:', 'tls:');
    await busOf(t, { cluster: secure, role: 'gateway', folder, urls: [url], caFile: authority.caFile });
    const scrape = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    let answer = '';
    await until('the exporter answers', async () => {
      answer = await scrape().catch(() => '');
      return answer !== '';
    });
    const metrics = new Metrics(answer);
    for (const name of ['gnatsd_varz_connections', 'gnatsd_connz_num_connections', 'gnatsd_healthz_status'])
      assert.deepEqual([...metrics.by(name, 'server_id').keys()], ['live-nats-0'], `${name}:\n${metrics.text}`);
    assert.equal(metrics.sum('gnatsd_varz_connections'), 1);
  });
});

describe('three managed NATS servers', () => {
  const three = PushCluster.parse({
    ...cluster,
    spec: { nats: { prefix: 'shop.live', managed: { replicas: 3 } } },
  });
  let folder: string;
  let servers: NatsServer[];
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pushcluster-managed-'));
    const ports = await freePorts(3);
    const text = ports.reduce(
      (config, port, i) => config.replace(`live-nats-${i}.live-nats-peers.shop.svc:6222`, `127.0.0.1:${port}`),
      natsConfig(three, managedNats(three)!, passwords).replace(/^(port|http|server_name): .*$/gm, ''),
    );
    servers = await Promise.all(
      ports.map((port, i) =>
        startNatsServer({ config: `server_name: live-nats-${i}\n${text.replace('port: 6222', `port: ${port}`)}` }),
      ),
    );
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await rm(folder, { recursive: true, force: true });
  });

  it('find each other with the configuration that the operator writes', async () => {
    await until('each has routes to both others', async () => {
      const routes = await Promise.all(
        servers.map(async ({ monitorUrl }) => (await fetch(`${monitorUrl}/routez`)).text()),
      );
      return routes.every((known) => new Set(known.match(/"remote_name": *"live-nats-\d"/g)).size === 2);
    });
  });

  it('are left by their clients before they stop, as Kubernetes stops them', async (t) => {
    const gateway = await busOf(t, { cluster: three, role: 'gateway', folder, urls: servers.map(({ url }) => url) });
    const events: BusEvent[] = [];
    t.after(gateway.onEvent((event) => events.push(event)));
    const [counts, used] = [await clientsOf(servers), () => servers[counts.indexOf(1)]!];
    assert.deepEqual(counts.toSorted(), [0, 0, 1]);
    const set = natsStatefulSet(three, managedNats(three)!, { ...passwords, apiKey: '' }, contextOf()).spec!;
    const [program, ...rest] = set.template.spec!.containers[0]!.lifecycle!.preStop!.exec!.command!;
    assert.equal(program, 'nats-server');
    const { stdout } = await run(NATS_SCRIPT);
    const { pid } = used();
    await run(
      stdout.trim(),
      rest.map((argument) => argument.replace('=1', `=${pid}`)),
    );
    await until('it begins to leave', () => used().output.includes('Entering lame duck mode'));
    process.kill(pid, 'SIGTERM');
    await until('the client is at another server', async () =>
      (await clientsOf(servers.filter((each) => each !== used()))).includes(1),
    );
    await until('it stops', () => used().output.includes('Server Exiting'));
    assert.deepEqual(events, []);
    assert.ok(gateway.connected);
  });
});

/** The numbers of clients of each server. */
function clientsOf(servers: readonly NatsServer[]): Promise<number[]> {
  return Promise.all(
    servers.map(async ({ monitorUrl }) => {
      const found: { connections: number } = JSON.parse(await (await fetch(`${monitorUrl}/varz`)).text());
      return found.connections;
    }),
  );
}

/** The bus of a gateway or logic pod, with the settings that the operator writes. */
async function busOf(
  t: TestContext,
  {
    cluster,
    role,
    folder,
    urls,
    caFile,
  }: { cluster: PushCluster; role: 'gateway' | 'logic'; folder: string; urls: string[]; caFile?: string },
): Promise<Bus> {
  const passwordFile = join(folder, role);
  await writeFile(passwordFile, passwords[role]);
  const { nats, ...rest } = busSettings(cluster, role) ?? {};
  const { bus: settings } = Settings.parse({
    bus: { ...rest, nats: { ...nats, servers: urls, passwordFile, ...(caFile ? { tls: { caFile } } : {}) } },
  });
  const bus = openBus(settings, { log: logLines().log, name: role, receiptTimeout: PATIENCE_MS });
  t.after(() => bus.close());
  await until('the bus is connected', () => bus.connected);
  return bus;
}
