import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { PublisherCounters } from '@pushcluster/gateway/hub/publisherCounters.ts';
import { PublisherHeartbeats } from '@pushcluster/gateway/hub/publisherHeartbeats.ts';
import { Resequencer, WaitingBytes } from '@pushcluster/gateway/hub/resequencer.ts';
import { SlicedWork } from '@pushcluster/gateway/hub/slicedWork.ts';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { type Certificates, renewed } from '@pushcluster/operator/certificates/certificates.ts';
import { busSettings, managedNats } from '@pushcluster/operator/pushcluster/desired/bus.ts';
import type { ServersTls } from '@pushcluster/operator/pushcluster/desired/context.ts';
import { contextOf } from '@pushcluster/operator/pushcluster/desired/fixture.ts';
import { natsConfig, natsConfigHash } from '@pushcluster/operator/pushcluster/desired/natsConfig.ts';
import {
  RELOAD_MS,
  ROTATE_ANNOTATION,
  type ServerPasswords,
} from '@pushcluster/operator/pushcluster/desired/natsPasswords.ts';
import { natsDnsNames } from '@pushcluster/operator/pushcluster/desired/natsTls.ts';
import { generated, secrets } from '@pushcluster/operator/pushcluster/desired/secrets.ts';
import { decodePush, encodePush, joinItems, type PushHeader } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { Counter } from 'prom-client';
import { logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const SIZE = 3;
const LASTS_MS = 86_400_000;
const ITEM = Buffer.from('1');
const subjects = new Subjects('shop.live');
const passwords = { gateway: 'of gateways', logic: 'of logic', routes: 'of routes' };

function clusterOf(managed: object, annotations: Record<string, string> = {}): PushCluster {
  return PushCluster.parse({
    metadata: { name: 'live', namespace: 'shop', uid: 'uid', annotations },
    spec: { nats: { prefix: 'shop.live', managed: { replicas: SIZE, ...managed } } },
  });
}

const plain = clusterOf({});
const encrypted = clusterOf({ tls: { enabled: true } });
const tls: ServersTls = { isOptional: false, routes: true, secretName: 'live-nats-tls', fingerprint: 'f' };

/** Certificates of the operator for servers that are here instead of in pods. The first are due for renewal. */
function certificatesOfServers(kept?: Certificates, now = Date.now() - 0.7 * LASTS_MS): Certificates {
  const purpose = { name: 'live', lasts: LASTS_MS, isForPeers: true };
  const dnsNames = ['localhost', ...natsDnsNames(plain)];
  return renewed({ purpose, kept, published: kept?.bundle, dnsNames, now });
}

/** Three servers with what the operator configures, and the files of pods. */
class Servers {
  readonly folder: string;
  readonly ports: number[];
  readonly certificates = certificatesOfServers();
  all: NatsServer[] = [];

  private constructor(folder: string, ports: number[]) {
    this.folder = folder;
    this.ports = ports;
  }

  static async start(of: ServerPasswords = passwords, tls?: ServersTls): Promise<Servers> {
    const servers = new Servers(await mkdtemp(join(tmpdir(), 'pushcluster-managed-')), await freePorts(SIZE));
    await servers.certify('tls', servers.certificates);
    await servers.certify('other', certificatesOfServers());
    servers.all = await Promise.all(
      servers.ports.map((_, i) => startNatsServer({ config: servers.config(i, of, tls) })),
    );
    await servers.formed();
    return servers;
  }

  async certify(name: string, { serving, bundle }: Certificates): Promise<void> {
    await writeFile(join(this.folder, `${name}.crt`), serving.certificate);
    await writeFile(join(this.folder, `${name}.key`), serving.key);
    await writeFile(join(this.folder, `${name}.ca.crt`), bundle);
  }

  /** The configuration of a server, with addresses and files of this machine. */
  config(index: number, of: ServerPasswords, tls?: ServersTls): string {
    const text = natsConfig(plain, managedNats(plain)!, of, tls)
      .replace(/^(port|http|server_name): .*$/gm, '')
      .replace(/live-nats-(\d)\.live-nats-peers\.shop\.svc:6222/g, (_, i) => `localhost:${this.ports[Number(i)]}`)
      .replace('port: 6222', `port: ${this.ports[index]}`)
      .replaceAll('/etc/pushcluster/tls/ca.crt', join(this.folder, 'tls.ca.crt'))
      .replaceAll('/etc/pushcluster/tls', this.folder)
      .replace('lame_duck_grace_period: "10s"', 'lame_duck_grace_period: "3s"');
    return `server_name: live-nats-${index}\n${text}`;
  }

  /** Restarts them one by one, as Kubernetes does. */
  async roll(of: ServerPasswords, tls?: ServersTls): Promise<void> {
    for (const [i, server] of this.all.entries()) {
      await server.lameDuck({ config: this.config(i, of, tls) });
      await this.formed();
    }
  }

  async formed(): Promise<void> {
    await until('each has routes to both others', async () => {
      const routes = await Promise.all(
        this.all.map(async ({ monitorUrl }) => (await fetch(`${monitorUrl}/routez`)).text()),
      );
      return routes.every((known) => new Set(known.match(/"remote_name": *"live-nats-\d"/g)).size === SIZE - 1);
    });
  }

  /** The bus of a pod, with the settings that the operator writes. @param ca whose CA it trusts, if any */
  async open(t: TestContext, cluster: PushCluster, role: 'gateway' | 'logic', ca = 'tls') {
    const { nats, ...rest } = busSettings(cluster, role) ?? {};
    const scheme = nats?.servers[0]?.split(':')[0];
    const { bus: settings } = Settings.parse({
      bus: {
        ...rest,
        nats: {
          ...nats,
          servers: this.all.map(({ port }) => `${scheme}://localhost:${port}`),
          passwordFile: join(this.folder, role),
          ...(nats?.tls ? { tls: { caFile: join(this.folder, `${ca}.ca.crt`) } } : {}),
        },
      },
    });
    const log = logLines();
    const bus = openBus(settings, { log: log.log, name: role, receiptTimeout: PATIENCE_MS });
    t.after(() => bus.close());
    return { bus, log };
  }

  async connected(t: TestContext, cluster: PushCluster, role: 'gateway' | 'logic'): Promise<Bus> {
    const { bus } = await this.open(t, cluster, role);
    await until(`${role} is connected`, () => bus.connected);
    return bus;
  }

  /** Writes the files of pods. */
  async write(files: { gateway: string; logic: string }): Promise<void> {
    await Promise.all((['gateway', 'logic'] as const).map((role) => writeFile(join(this.folder, role), files[role])));
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((server) => server.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * What a gateway receives, by publisher, in the order in which its clients get it. What comes again is left out by the
 * publishers' counters: where a subscription moves from one server to another, a message that the former has delivered may
 * still be on its way to the other.
 */
async function listening(gateway: Bus): Promise<Map<string, number[]>> {
  const got = new Map<string, number[]>();
  const counters = new PublisherCounters(new PublisherHeartbeats(() => systemClock.now()));
  const options = {
    clock: systemClock,
    waiting: new WaitingBytes(),
    work: new SlicedWork({ clock: systemClock, failed: assert.ifError }),
    metrics: { late: new Counter({ name: 'late', help: 'late', registers: [] }) },
    failed: assert.ifError,
  };
  const resequencer = new Resequencer<PushHeader>(counters, options, (push, count) => {
    if (counters.accept(push, count).repeats === count) return;
    const numbers = got.get(push.publisher) ?? [];
    got.set(push.publisher, numbers);
    numbers.push(push.counter);
  });
  const { ready } = gateway.subscribe(subjects.all, (bytes) => {
    const push = decodePush(bytes);
    resequencer.receive(push, push.items.lengths.length, bytes.length);
  });
  await ready;
  return got;
}

/** Publishes numbers, one after the other, until it is stopped. Each is confirmed by the server. */
function publishing(logic: Bus, name: string) {
  let isStopped = false;
  let published = 0;
  const header = {
    publisher: name,
    at: 0,
    begun: 0,
    beat: 0,
    first: 0,
    urgent: false,
    id: '',
    items: joinItems([ITEM]),
  };
  const done = (async () => {
    while (!isStopped) {
      logic.publish(subjects.all, encodePush({ ...header, counter: ++published, mark: published }));
      await logic.flush();
      await setImmediate();
    }
  })();
  return {
    get published() {
      return published;
    },
    async stop(): Promise<number> {
      isStopped = true;
      await done;
      return published;
    },
  };
}

/** All that was published arrived in order, from the first that found the subscription at every server. */
async function assertAll(got: Map<string, number[]>, name: string, published: number): Promise<void> {
  await until('all arrived', () => got.get(name)?.at(-1) === published);
  const numbers = got.get(name) ?? [];
  const [first = 0] = numbers;
  assert.deepEqual(
    numbers,
    Array.from({ length: published - first + 1 }, (_, i) => first + i),
  );
}

describe('three managed NATS servers with TLS', () => {
  let servers: Servers;
  before(async () => {
    servers = await Servers.start(passwords, tls);
    await servers.write(passwords);
  });
  after(() => servers.stop());

  it('encrypt routes, with certificates of both sides, and serve clients that trust their CA', async (t) => {
    for (const { monitorUrl } of servers.all) {
      const { cluster } = JSON.parse(await (await fetch(`${monitorUrl}/varz`)).text());
      assert.deepEqual([cluster.tls_required, cluster.tls_verify], [true, true]);
    }
    const [gateway, logic] = [
      await servers.connected(t, encrypted, 'gateway'),
      await servers.connected(t, encrypted, 'logic'),
    ];
    const got = await listening(gateway);
    const load = publishing(logic, 'a');
    await until('some arrived', () => (got.get('a')?.length ?? 0) > 20);
    await assertAll(got, 'a', await load.stop());
  });

  it('are refused by clients that trust another CA, and refuse those without TLS', async (t) => {
    const { log, bus } = await servers.open(t, encrypted, 'gateway', 'other');
    await until('it is refused', () => JSON.stringify(log.lines).includes('is not signed by an authority'));
    const without = await servers.open(t, plain, 'gateway');
    await until('a server refuses it', () =>
      servers.all.some(({ output }) => /TLS handshake error|tls: first record/.test(output)),
    );
    assert.deepEqual([bus.connected, without.bus.connected], [false, false]);
  });

  it('refuse a route of a server with a certificate of another CA', async () => {
    const [index, server] = [SIZE - 1, servers.all[SIZE - 1]!];
    const own = servers.config(index, passwords, tls);
    await server.restart({ config: own.replaceAll(`${servers.folder}/tls.`, `${servers.folder}/other.`) });
    await until('a route is refused', () => /TLS route handshake error/.test(server.output));
    const routes = await (await fetch(`${server.monitorUrl}/routez`)).text();
    assert.doesNotMatch(routes, /"remote_name"/);
    await server.restart({ config: own });
    await servers.formed();
  });
});

describe('under load, three managed NATS servers', () => {
  it('turn TLS on with nothing lost or refused', async (t) => {
    const servers = await Servers.start();
    t.after(() => servers.stop());
    await servers.write(passwords);
    const withoutRoutes = { ...tls, routes: false };
    const old = {
      gateway: await servers.connected(t, plain, 'gateway'),
      logic: await servers.connected(t, plain, 'logic'),
    };
    const oldGot = await listening(old.gateway);
    const oldLoad = publishing(old.logic, 'old');
    await servers.roll(passwords, { ...withoutRoutes, isOptional: true });
    // Pods are replaced: new ones first.
    const gateway = await servers.connected(t, encrypted, 'gateway');
    const got = await listening(gateway);
    const first = oldLoad.published + 2;
    const load = publishing(await servers.connected(t, encrypted, 'logic'), 'new');
    await until('both arrive at both', () =>
      [got, oldGot].every((each) => each.get('new')?.length && (each.get('old')?.at(-1) ?? 0) > first),
    );
    const published = await oldLoad.stop();
    await assertAll(oldGot, 'old', published);
    await assertAll(got, 'old', published);
    await old.logic.close();
    await old.gateway.close();
    await servers.roll(passwords, withoutRoutes);
    const total = await load.stop();
    await assertAll(got, 'new', total);
    console.log(`plain to TLS: ${published + total} pushes, 0 lost`);
  });

  it('get a renewed certificate, for clients and routes, with nothing lost or refused', async (t) => {
    const servers = await Servers.start(passwords, tls);
    t.after(() => servers.stop());
    await servers.write(passwords);
    const gateways = [
      await servers.connected(t, encrypted, 'gateway'),
      await servers.connected(t, encrypted, 'gateway'),
    ];
    const got = await Promise.all(gateways.map(listening));
    const load = publishing(await servers.connected(t, encrypted, 'logic'), 'a');
    await until('some arrived', () => got.every((each) => (each.get('a')?.length ?? 0) > 20));
    const next = certificatesOfServers(servers.certificates, Date.now());
    assert.notEqual(next.serving.certificate, servers.certificates.serving.certificate);
    assert.equal(next.bundle, servers.certificates.bundle);
    await servers.certify('tls', next);
    await servers.roll(passwords, { ...tls, fingerprint: 'renewed' });
    const published = await load.stop();
    for (const each of got) await assertAll(each, 'a', published);
    console.log(`renewal: ${published} pushes, 0 lost`);
  });

  it('get other passwords with nothing lost or refused', async (t) => {
    const kept = new Map<string, Record<string, string>>();
    const text = (secret: string, key: string) => Buffer.from(kept.get(secret)?.[key] ?? '', 'base64').toString();
    const before = clusterOf({});
    const asked = clusterOf({}, { [ROTATE_ANNOTATION]: 'today' });
    let next = 0;
    let now = Date.now();
    let config: string | undefined;
    const reconcile = (cluster: PushCluster) => {
      const seen = config === undefined ? undefined : { config, isSettled: true, now };
      const random = (bytes: number) => new Uint8Array(bytes).fill(++next);
      const values = generated(cluster, contextOf({ secrets: new Map(kept), nats: seen, random }));
      for (const { metadata, data = {} } of secrets(cluster, values)) kept.set(metadata.name, data);
      config = natsConfigHash(cluster, managedNats(cluster)!, values);
      return values;
    };
    const files = () => ({
      gateway: text('live-nats-gateway', 'password'),
      logic: text('live-nats-logic', 'password'),
    });
    const first = reconcile(before);
    const servers = await Servers.start(first);
    t.after(() => servers.stop());
    await servers.write(files());
    const gateways = [await servers.connected(t, plain, 'gateway'), await servers.connected(t, plain, 'gateway')];
    const got = await Promise.all(gateways.map(listening));
    const load = publishing(await servers.connected(t, plain, 'logic'), 'a');
    reconcile(asked);
    reconcile(asked);
    await servers.write(files());
    now += RELOAD_MS;
    const accepted = reconcile(asked);
    assert.notEqual(accepted.gateway, first.gateway);
    await servers.roll(accepted);
    const last = reconcile(asked);
    assert.equal(files().gateway, accepted.gateway);
    await servers.write(files());
    await servers.roll(last);
    const published = await load.stop();
    for (const each of got) await assertAll(each, 'a', published);
    await servers.write({ gateway: first.gateway, logic: first.logic });
    const { log } = await servers.open(t, plain, 'logic');
    await until('the former password is refused', () => JSON.stringify(log.lines).includes('refuses our credentials'));
    console.log(`rotation: ${published} pushes, 0 lost`);
  });
});
