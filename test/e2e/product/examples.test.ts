import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import { z } from 'zod';
import { createAuthority } from '../../harness/certificates.ts';
import { inUrl } from '../../harness/cluster/addressPlan.ts';
import { apply, type Kubectl } from '../../harness/cluster/kubectl.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { claimNamespace, installChart, RELEASE } from '../../harness/cluster/product.ts';
import { Connection, cutAll, Refused } from '../../harness/connection.ts';
import { createOperatorMode } from '../../harness/natsAccounts.ts';
import { saidPermissions } from '../../harness/saidPermissions.ts';
import { hs256, secondsFromNow } from '../../harness/tokens.ts';
import { until } from '../../harness/until.ts';

const EXAMPLES = new URL('../../../examples/', import.meta.url).pathname;
/** As examples/external-nats.yaml names them. */
const NATS = { namespace: 'messaging', name: 'nats', servers: 3, prefix: 'live.shop' };
/** As examples/rooms.yaml has them. */
const ROOMS = {
  secret: 'change-me-change-me-change-me-change-me',
  backend: 'change-me-too-change-me-too-change-me-too',
  sports: 'change-me-as-well-change-me-as-well-change',
  origin: 'https://app.example.com',
};

describe('examples, applied as they are', { concurrency: true }, () => {
  let cluster: OpenCluster;
  const lives: Live[] = [];
  const connections: Connection[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
  });
  after(async () => {
    cutAll(connections);
    for (const live of lives) await live.end();
    await cluster.kubectl(['delete', 'namespace', NATS.namespace, '--wait=false', '--ignore-not-found']);
    await cluster.close();
  });

  /** Ready, in a namespace of its own. */
  async function applied(file: string, prepare: (live: Live) => Promise<unknown> = async () => {}): Promise<Live> {
    const namespace = `example-${file.replace('.yaml', '')}`;
    await claimNamespace(cluster.kubectl, namespace);
    const live = new Live(cluster.kubectl, namespace);
    lives.push(live);
    await prepare(live);
    await live.kubectl('apply', '-f', `${EXAMPLES}${file}`);
    await live.whenReady();
    return live;
  }

  /** By the Service of gateways, as a proxy of the cluster reaches them. */
  async function connect(live: Live, more: { token?: string; headers?: Record<string, string> } = {}) {
    const host = await live.service('gateway');
    const connection = await Connection.open({ host, port: 7_777, keepItems: true, ...more });
    connections.push(connection);
    return connection;
  }

  const got = (connection: Connection, text: string) =>
    until('the item comes', () => connection.items.some((item) => item.text === text));

  it('rooms.yaml: people with tokens, and keys that may push only where they should', async () => {
    const live = await applied('rooms.yaml');
    const token = hs256(ROOMS.secret, { sub: 'ann', aud: 'live', exp: secondsFromNow(600) });
    const headers = { origin: ROOMS.origin };
    const ann = await connect(live, { token, headers });
    await ann.join('score-1');
    const nobody = await (await connect(live, { headers })).ask('JOIN', { room: 'score-1' });
    assert.ok(nobody.type === 'ERROR' && nobody.data.code === 'unauthorized', 'without a token there is nothing');
    const ofElsewhere = connect(live, { token, headers: { origin: 'https://example.org' } });
    await assert.rejects(ofElsewhere, (error) => error instanceof Refused && error.status === 403);
    const logic = await live.service('logic');
    const push = (room: string, key = ROOMS.sports) =>
      fetch(`http://${inUrl(logic)}:7799/v1/push`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ to: { room }, items: ['2:1'] }),
      });
    assert.equal((await push('score-1')).status, 202);
    await got(ann, '"2:1"');
    assert.equal((await push('live-1')).status, 403);
    const stored = await push('chat-1', ROOMS.backend);
    assertStored(stored.status, await stored.json());
    const durable = '-o=jsonpath={.status.conditions[?(@.type=="HistoryDurable")].reason}';
    assert.equal(await live.kubectl('get', 'pushcluster', 'live', durable), 'InMemory');
  });

  it('external-nats.yaml: a NATS of three servers by TLS, where each role has its own rights', async () => {
    const live = await applied('external-nats.yaml', async ({ namespace }) => {
      const files = await startNats(cluster.kubectl);
      const secret = (name: string, stringData: Record<string, string>) => ({
        ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, stringData },
      });
      const { ca, ...creds } = files;
      await apply(cluster.kubectl, [secret('live-nats-users', creds), secret('nats-ca', { 'ca.crt': ca })]);
    });
    assert.equal(await live.kubectl('get', 'statefulsets', '-o', 'name'), '', 'no NATS of its own');
    const somebody = await connect(live);
    await somebody.join('match');
    // A server of NATS learns of a room at another one a moment after that one has confirmed it.
    await until('an item comes', async () => {
      assert.equal((await live.push({ room: 'match' }, ['"hello"'])).status, 202);
      return somebody.items.some(({ text }) => text === '"hello"');
    });
    const { status, body } = await live.push({ room: 'chat-1' }, ['"stored"']);
    assertStored(status, body);
  });

  it('ingress.yaml: a Service that an Ingress finds, and a proxy that says who clients are', async () => {
    const live = await applied('ingress.yaml');
    // What a controller would do with it is its own: here is none. kubectl resolves names and ports as that does.
    let described = '';
    // Endpoints follow pods a moment later.
    await until('it leads to both gateways', async () => {
      described = await live.kubectl('describe', 'ingress', 'live');
      return /\/connect +live-gateway:websocket \([\d.]+:7777,[\d.]+:7777\)/.test(described);
    }).catch((error: Error) => assert.fail(`${error.message}: ${described}`));
    const somebody = await connect(live, { headers: { 'x-forwarded-for': '192.0.2.7' } });
    assert.equal((await live.push({ all: true }, ['"hello"'])).status, 202);
    await got(somebody, '"hello"');
  });
});

/** The first push to a room with history was answered with its number. */
function assertStored(status: number, body: unknown): void {
  assert.equal(status, 202, JSON.stringify(body));
  const { rooms } = z.object({ rooms: z.array(z.object({ room: z.string(), seq: z.number() })) }).parse(body);
  assert.deepEqual(
    rooms.map(({ room, seq }) => [room, seq]),
    [['chat-1', 1]],
  );
}

/** Three servers as in a cluster that has its NATS already. Its authority, and a .creds file for each role. */
async function startNats(kubectl: Kubectl): Promise<Record<'ca' | 'gateway.creds' | 'logic.creds', string>> {
  const { namespace, name } = NATS;
  const hosts = Array.from({ length: NATS.servers }, (_, i) => `${name}-${i}.${name}.${namespace}.svc`);
  const authority = await createAuthority();
  const { certFile, keyFile } = await authority.issue(hosts.map((host) => `DNS:${host}`).join());
  const [ca, certificate, key] = await Promise.all(
    [authority.caFile, certFile, keyFile].map((file) => readFile(file, 'utf8')),
  );
  await authority.remove();
  const accounts = createOperatorMode({ jetstream: true });
  const config = `port: 4222
http: 8222
server_name: $POD_NAME
${accounts.config}tls { cert_file: /etc/nats/tls.crt, key_file: /etc/nats/tls.key }
jetstream { store_dir: /data }
cluster { name: ${name}, port: 6222, routes: [${hosts.map((host) => `nats://${host}:6222`).join()}] }
`;
  const images = ['-n', RELEASE.namespace, 'get', 'deployment', RELEASE.operator];
  const image = await kubectl([...images, '-o', 'jsonpath={..env[?(@.name=="NATS_IMAGE")].value}']);
  await claimNamespace(kubectl, namespace);
  const labels = { app: name };
  const metadata = { name, namespace };
  await apply(kubectl, [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata,
      stringData: { 'nats.conf': config, 'tls.crt': certificate, 'tls.key': key },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata },
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: labels,
        ports: [{ name: 'client', port: 4222 }],
      },
    },
    {
      ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata },
      spec: {
        ...{
          replicas: NATS.servers,
          serviceName: name,
          podManagementPolicy: 'Parallel',
          selector: { matchLabels: labels },
        },
        template: {
          metadata: { labels },
          spec: {
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 65_532,
              fsGroup: 65_532,
              seccompProfile: { type: 'RuntimeDefault' },
            },
            containers: [
              {
                ...{ name, image, args: ['--config', '/etc/nats/nats.conf'] },
                env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
                readinessProbe: { httpGet: { path: '/healthz', port: 8222 }, periodSeconds: 1 },
                securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
                volumeMounts: [
                  { name: 'files', mountPath: '/etc/nats' },
                  { name: 'data', mountPath: '/data' },
                ],
              },
            ],
            volumes: [
              { name: 'files', secret: { secretName: name } },
              { name: 'data', emptyDir: {} },
            ],
          },
        },
      },
    },
  ]);
  await kubectl(['-n', namespace, 'rollout', 'status', `statefulset/${name}`, '--timeout=300s']);
  const { gateway, logic } = saidPermissions(NATS.prefix, historyStream(NATS.prefix, 'chat-*').name);
  return { ca: ca ?? '', 'gateway.creds': accounts.creds(gateway), 'logic.creds': accounts.creds(logic) };
}
