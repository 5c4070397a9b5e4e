import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { after, before, describe, it } from 'node:test';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import {
  API_SERVICE,
  BYTES_METRIC,
  CONNECTIONS_METRIC,
  METRICS_API_SECRET,
  METRICS_API_SERVICE,
  METRICS_API_VERSION,
  METRICS_GROUP,
} from '@pushcluster/operator/metricsApi/api.ts';
import { GatewaySamples } from '@pushcluster/operator/metricsApi/gatewaySamples.ts';
import { MetricsApi } from '@pushcluster/operator/metricsApi/metricsApi.ts';
import type { PodLabels } from '@pushcluster/operator/metricsApi/metricsServer.ts';
import { OtherProviders } from '@pushcluster/operator/metricsApi/otherProviders.ts';
import { Registry } from 'prom-client';
import { type Certificate, createAuthority } from '../harness/certificates.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { metricsApiRegistration, metricsApiRights } from '../harness/cluster/metricsApi.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const USER = 'the-operator';
const SERVER_NAME = `${METRICS_API_SERVICE}.default.svc`;
const PODS = `/apis/${METRICS_API_VERSION}/namespaces/shop/pods`;
/** What an answer for 200 pods may take. */
const ANSWER_MS = 100;
/** How many times as long as the API server's own answer it may take, where this machine is slow. */
const SLOWER = 5;
/** It stands still: how old a sample is is the tests' matter. */
const NOW = Date.now();

type Answer = { status: number; text: string };
type List = { items: { describedObject: { name: string }; value: string; windowSeconds?: number }[] };

describe('the custom metrics API', () => {
  let plane: ControlPlane;
  const pods: PodLabels[] = [];
  const samples = new GatewaySamples();
  const troubles: string[] = [];
  /** The first one leads and is the one that the API server asks; the other one follows. */
  let [leader, follower]: (MetricsApi | undefined)[] = [];
  let port = 0;

  before(async () => {
    plane = await startControlPlane();
    await apply(plane.kubectl, [
      ...metricsApiRights(USER),
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    ]);
    [port = 0] = await freePorts(1);
    const client = new Client(connect({ KUBECONFIG: await plane.kubeconfigFor(`/CN=${USER}`) }));
    [leader, follower] = [port, 0].map((each) => start(client, each));
    await apply(plane.kubectl, metricsApiRegistration(port));
    await leader!.lead(client);
    await until('both listen', () => [leader, follower].every((each) => each!.isServing)).catch((error) => {
      throw new Error(`${error}: ${troubles.join('; ')}`);
    });
    await available();
  });
  after(async () => {
    await Promise.all([leader?.stop(), follower?.stop()]);
    await plane?.stop();
  });

  function start(client: Client, port: number): MetricsApi {
    const api = new MetricsApi({
      client,
      host: '127.0.0.1',
      port,
      registry: new Registry(),
      source: {
        pods: (namespace) => pods.filter((pod) => pod.namespace === namespace),
        value: (uid, metric) => samples.value(uid, metric, NOW),
      },
      onTrouble: (what, error) => troubles.push(`${what}: ${error}`),
    });
    api.start();
    return api;
  }
  const available = () =>
    plane.kubectl(['wait', `apiservice/${API_SERVICE}`, '--for=condition=Available', '--timeout=180s']);
  const raw = (path: string) => plane.kubectl(['get', '--raw', path]);
  const list = async (path: string): Promise<List> => JSON.parse(await raw(path));
  const values = async (path: string) =>
    (await list(path)).items.map(({ describedObject: { name }, value }) => `${name}=${value}`).sort();
  const bundle = async () =>
    Buffer.from(
      await plane.kubectl(['get', 'apiservice', API_SERVICE, '-o=jsonpath={.spec.caBundle}']),
      'base64',
    ).toString();

  /** Asks an operator itself, past the API server. */
  function ask(
    path: string,
    options: {
      headers?: Record<string, string>;
      client?: Certificate;
      ca?: string;
      to?: MetricsApi;
      method?: string;
    } = {},
  ): Promise<Answer> {
    const { headers = {}, client, ca = secret['ca.crt'], to = leader!, method = 'GET' } = options;
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          ...{ host: '127.0.0.1', port: to.port, path, headers, method, ca, servername: SERVER_NAME, agent: false },
          ...(client ? { cert: readFileSync(client.certFile), key: readFileSync(client.keyFile) } : {}),
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (part: string) => {
            text += part;
          });
          response.once('end', () => resolve({ status: response.statusCode ?? 0, text })).once('error', reject);
        },
      );
      asked.once('error', reject).end();
    });
  }
  let secret: Record<string, string> = {};
  async function readSecret(): Promise<void> {
    const found = JSON.parse(await plane.kubectl(['get', 'secret', METRICS_API_SECRET, '-o=json']));
    secret = Object.fromEntries(
      Object.entries<string>(found.data).map(([key, text]) => [key, Buffer.from(text, 'base64').toString()]),
    );
  }

  it('is found by discovery, in every form', async () => {
    // The API server gathers what aggregated APIs have a moment after it has found them available.
    await until('it is among the API versions', async () =>
      (await plane.kubectl(['api-versions'])).split('\n').includes(METRICS_API_VERSION),
    );
    const group = JSON.parse(await raw(`/apis/${METRICS_GROUP}`));
    assert.equal(group.preferredVersion.groupVersion, METRICS_API_VERSION);
    const resources = JSON.parse(await raw(`/apis/${METRICS_API_VERSION}`)).resources;
    assert.deepEqual(
      resources.map(({ name, namespaced, kind }: Record<string, unknown>) => [name, namespaced, kind]),
      [CONNECTIONS_METRIC, BYTES_METRIC].map((metric) => [`pods/${metric}`, true, 'MetricValueList']),
    );
    assert.match(await raw('/openapi/v2'), /"swagger"/);
    await until('its OpenAPI document is in the API server', async () =>
      (await raw('/openapi/v3')).includes(`apis/${METRICS_API_VERSION}`),
    );
    assert.match(await raw(`/openapi/v3/apis/${METRICS_API_VERSION}`), /MetricValueList/);
  });

  it('answers for all pods of a namespace, for those that a selector selects, and for one by name', async () => {
    pods.push(pod('a', { app: 'live', serving: 'true' }), pod('b', { app: 'live' }), pod('c', { app: 'other' }));
    pods.push({ ...pod('d'), namespace: 'elsewhere' });
    for (const [index, { uid }] of pods.entries()) samples.put(uid, { at: NOW, connections: index + 1 });
    assert.deepEqual(await values(`${PODS}/*/${CONNECTIONS_METRIC}`), ['a=1', 'b=2', 'c=3']);
    assert.deepEqual(await values(`${PODS}/%2A/${CONNECTIONS_METRIC}?labelSelector=app%3Dlive`), ['a=1', 'b=2']);
    const selector = encodeURIComponent('app in (live,other),!serving');
    assert.deepEqual(await values(`${PODS}/*/${CONNECTIONS_METRIC}?labelSelector=${selector}`), ['b=2', 'c=3']);
    assert.deepEqual(await values(`${PODS}/c/${CONNECTIONS_METRIC}`), ['c=3']);
    assert.deepEqual(await values(`${PODS}/*/${CONNECTIONS_METRIC}?metricLabelSelector=shard%3D1`), []);
    await assert.rejects(raw(`${PODS}/*/${CONNECTIONS_METRIC}?labelSelector=a%20b`), /is not a valid label selector/);
    await assert.rejects(raw(`${PODS}/*/pushcluster_gateway_rooms`), /unknown metric pushcluster_gateway_rooms/);
    await assert.rejects(raw(`/apis/${METRICS_API_VERSION}/namespaces/shop/services/*/x`), /NotFound/);
  });

  it('tells bytes a second over the time between two samples', async () => {
    pods.push(pod('e'));
    samples.put('uid-e', { at: NOW - 10_000, bytesSentTotal: 1_000 });
    samples.put('uid-e', { at: NOW, bytesSentTotal: 51_000 });
    const { items } = await list(`${PODS}/e/${BYTES_METRIC}`);
    assert.equal(Number(items[0]?.value), 5_000);
    assert.equal(items[0]?.windowSeconds, 10);
    assert.deepEqual(
      await values(`${PODS}/*/${BYTES_METRIC}`),
      [`e=${items[0]?.value}`],
      'the others have no rate yet',
    );
  });

  it('leaves out a pod without a value of the last 20 s, and never says zero for it', async () => {
    pods.push(pod('stale'), pod('unheard'));
    samples.put('uid-stale', { at: NOW - 20_500, connections: 7 });
    const found = (await values(`${PODS}/*/${CONNECTIONS_METRIC}`)).map((each) => each.split('=')[0]);
    assert.ok(!found.includes('stale') && !found.includes('unheard'), found.join());
    for (const name of ['stale', 'unheard', 'nobody'])
      await assert.rejects(raw(`${PODS}/${name}/${CONNECTIONS_METRIC}`), /has no recent value of/);
  });

  it('is refused by the API server to whoever has no right, and lets in whoever has', async () => {
    const as = (user: string) => plane.kubectl(['get', '--raw', `${PODS}/*/${CONNECTIONS_METRIC}`, `--as=${user}`]);
    await assert.rejects(as('nobody'), /forbidden/i);
    assert.match(await as('system:serviceaccount:kube-system:horizontal-pod-autoscaler'), /"MetricValueList"/);
  });

  it('by itself asks who is there: a token that counts, and rights that go with it', async () => {
    await readSecret();
    const path = `${PODS}/*/${CONNECTIONS_METRIC}`;
    assert.equal((await ask(path)).status, 401);
    assert.equal((await ask(path, { headers: { authorization: 'Bearer made-up' } })).status, 401);
    await plane.kubectl(['create', 'serviceaccount', 'scaler', '-n', 'shop']);
    const token = (await plane.kubectl(['create', 'token', 'scaler', '-n', 'shop'])).trim();
    const headers = { authorization: `Bearer ${token}` };
    const refused = await ask(path, { headers });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /"Forbidden"/);
    assert.equal(
      (await ask(`/apis/${METRICS_API_VERSION}`, { headers })).status,
      200,
      'discovery is for all who are known',
    );
    await apply(plane.kubectl, reader('scaler'));
    // The refusal was kept for 10 s.
    await until('the new right counts', async () => (await ask(path, { headers })).status === 200);
    assert.equal((await ask(path, { headers, to: follower! })).status, 200, 'every replica answers');
    assert.equal((await ask('/healthz')).status, 200);
    assert.equal((await ask(path, { headers, method: 'DELETE' })).status, 405);
  });

  it('believes headers only with a client certificate of the front proxy', async () => {
    const path = `${PODS}/*/${CONNECTIONS_METRIC}`;
    const headers = { 'x-remote-user': 'admin', 'x-remote-group': 'system:masters' };
    assert.equal((await ask(path, { headers })).status, 401, 'no certificate');
    const stranger = await createAuthority('a stranger');
    after(() => stranger.remove());
    const forged = await stranger.issue('', '/CN=front-proxy');
    assert.equal((await ask(path, { headers, client: forged })).status, 401, 'an authority that is none');
    const { frontProxyAuthority } = plane;
    const other = await frontProxyAuthority.issue('', '/CN=somebody-else');
    assert.equal((await ask(path, { headers, client: other })).status, 401, 'a name that is not allowed');
    const right = await frontProxyAuthority.issue('', '/CN=front-proxy');
    assert.equal((await ask(path, { headers, client: right })).status, 200);
    const nobody = { 'x-remote-user': 'nobody' };
    assert.equal((await ask(path, { headers: nobody, client: right })).status, 403, 'vouched for, but without a right');
    assert.equal((await ask(path, { client: right })).status, 401, 'nobody is named');
  });

  it('is not asked where its certificate is by another authority, and is trusted again within seconds', async () => {
    const stranger = await createAuthority('a stranger');
    after(() => stranger.remove());
    const wrong = readFileSync(stranger.caFile);
    await assert.rejects(ask('/healthz', { ca: wrong.toString() }), /certificate/);
    const right = await bundle();
    const patch = JSON.stringify({ spec: { caBundle: wrong.toString('base64') } });
    await plane.kubectl(['patch', 'apiservice', API_SERVICE, '--type=merge', '-p', patch]);
    await until('the operator has put it right', async () => (await bundle()) === right);
    await available();
  });

  it('makes new certificates where its Secret is deleted, and every replica takes them', async () => {
    const before = await bundle();
    await plane.kubectl(['delete', 'secret', METRICS_API_SECRET]);
    await until('there is another authority', async () => (await bundle()) !== before);
    await readSecret();
    for (const to of [leader!, follower!])
      await until(
        'it serves with it',
        async () => (await ask('/healthz', { to }).catch(() => undefined))?.status === 200,
      );
    await until('the API server gets answers', async () =>
      raw(`${PODS}/*/${CONNECTIONS_METRIC}`).then(
        () => true,
        () => false,
      ),
    );
  });

  it('answers for 200 pods within 100 ms, by way of the API server', async (test) => {
    for (let index = 0; index < 200; index++) {
      const each = { ...pod(`many-${index}`, { app: 'many' }), namespace: 'many' };
      pods.push(each);
      samples.put(each.uid, { at: NOW, connections: index });
    }
    const path = `${PODS.replace('shop', 'many')}/*/${CONNECTIONS_METRIC}?labelSelector=app%3Dmany`;
    const timed = async (path: string) => {
      const began = performance.now();
      const { text } = await plane.get(path);
      return { ms: performance.now() - began, text };
    };
    const took: number[] = [];
    const own: number[] = [];
    for (let turn = 0; turn < 20; turn++) {
      own.push((await timed('/api/v1/namespaces')).ms);
      const { ms, text } = await timed(path);
      took.push(ms);
      assert.equal(JSON.parse(text).items.length, 200);
    }
    const [median, reference] = [took, own].map((times) => times.sort((a, b) => a - b)[10]!) as [number, number];
    test.diagnostic(
      `200 pods: median ${median.toFixed(1)} ms, longest of 20 ${took.at(-1)?.toFixed(1)} ms; the API server's own ${reference.toFixed(1)} ms`,
    );
    assert.ok(median < Math.max(ANSWER_MS, SLOWER * reference), `${median} ms`);
  });

  it('tells of another adapter beside it', async () => {
    const version = 'v1beta1';
    await apply(
      plane.kubectl,
      metricsApiRegistration(1, { name: 'other', version, trust: { insecureSkipTLSVerify: true } }),
    );
    const told: string[] = [];
    const found = () =>
      new Promise<void>((resolve) => {
        const others = new OtherProviders(new Client(connect({ KUBECONFIG: plane.kubeconfig })), (message) => {
          told.push(message);
          assert.equal(others.count, 1);
          void others.stop().then(resolve);
        });
        others.start();
      });
    await until('discovery has it', async () => (await raw(`/apis/${METRICS_GROUP}`)).includes(version));
    await found();
    assert.match(
      told.join(),
      /\(APIService v1beta1\.custom\.metrics\.k8s\.io\) beside v1beta2\.custom\.metrics\.k8s\.io/,
    );
    await plane.kubectl(['delete', `apiservice/${version}.${METRICS_GROUP}`]);
  });

  it('is gone from discovery with its APIService, and leaves no trace of it', async () => {
    await plane.kubectl(['delete', 'apiservice', API_SERVICE]);
    await until('it is gone', async () => !(await plane.kubectl(['api-versions'])).includes(METRICS_GROUP));
    assert.ok(!(await plane.kubectl(['get', 'apiservices', '-o=name'])).includes(METRICS_GROUP));
  });
});

function pod(name: string, labels: Record<string, string> = {}): PodLabels {
  return { uid: `uid-${name}`, name, namespace: 'shop', labels };
}

const RBAC = 'rbac.authorization.k8s.io';

/** A service account that may read the metrics of pods. */
function reader(account: string): object[] {
  const metadata = { name: `${account}-reads`, namespace: 'shop' };
  return [
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'Role',
      metadata,
      rules: [
        { apiGroups: [METRICS_GROUP], resources: ['pods/*', 'pods/pushcluster_gateway_connections'], verbs: ['get'] },
      ],
    },
    {
      apiVersion: `${RBAC}/v1`,
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: RBAC, kind: 'Role', name: metadata.name },
      subjects: [{ kind: 'ServiceAccount', name: account, namespace: 'shop' }],
    },
  ];
}
