import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { PushCluster, type Status } from '@pushcluster/operator/api/pushCluster.ts';
import type { AuditEvent } from '../harness/cluster/audit.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { Lateness } from '../harness/lateness.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

/** In which drift is to be repaired. */
const REPAIR_MS = 5_000;
/** Where nobody listens. */
const CLOSED = 'https://127.0.0.1:1/';
/** All that an empty spec makes. */
const MADE = [
  'configmap/live-settings',
  'deployment.apps/live-gateway',
  'deployment.apps/live-logic',
  'networkpolicy.networking.k8s.io/live-gateway',
  'networkpolicy.networking.k8s.io/live-logic',
  'networkpolicy.networking.k8s.io/live-nats',
  'poddisruptionbudget.policy/live-gateway',
  'poddisruptionbudget.policy/live-logic',
  'poddisruptionbudget.policy/live-nats',
  'secret/live-api-key',
  'secret/live-nats-gateway',
  'secret/live-nats-logic',
  'secret/live-nats-server',
  'service/live-gateway',
  'service/live-logic',
  'service/live-metrics',
  'service/live-nats',
  'service/live-nats-peers',
  'serviceaccount/live-gateway',
  'serviceaccount/live-logic',
  'serviceaccount/live-nats',
  'statefulset.apps/live-nats',
];
const KINDS =
  'configmap,deployment,networkpolicy,poddisruptionbudget,secret,service,serviceaccount,statefulset,horizontalpodautoscaler';

describe('the operator', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;

  before(async () => {
    plane = await startControlPlane();
    operator = await OperatorProcess.startOn(plane);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  async function namespace(name: string, labels: Record<string, string> = {}): Promise<void> {
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
  }
  async function create(namespace: string, spec: object = {}): Promise<void> {
    const { apiVersion, kind } = PushCluster.parse({ metadata: { name: 'live', namespace, uid: '' } });
    await apply(plane.kubectl, [{ apiVersion, kind, metadata: { name: 'live', namespace }, spec }]);
  }
  async function cluster(namespace: string): Promise<PushCluster> {
    return PushCluster.parse(
      JSON.parse(await plane.kubectl(['get', 'pushcluster', 'live', '-n', namespace, '-o=json'])),
    );
  }
  async function made(namespace: string): Promise<string[]> {
    const args = ['get', KINDS, '-n', namespace, '-l', 'pushcluster.dev/cluster=live', '-o=name'];
    return (await plane.kubectl(args))
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  }
  const path = (namespace: string, what: string, value: string) =>
    plane.kubectl(['get', what, '-n', namespace, `-o=jsonpath={${value}}`]);

  /** Waits until the status is about the newest generation and `holds`. */
  async function status(
    namespace: string,
    holds: (status: Status) => boolean,
    deadline = PATIENCE_MS,
  ): Promise<Status> {
    let found: Status | undefined;
    await until(
      'the status is as expected',
      async () => {
        const { status, metadata } = await cluster(namespace);
        found = status;
        return status?.observedGeneration === metadata.generation && holds(status);
      },
      deadline,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(found)}\n${operator.output.slice(-3_000)}`);
    });
    assert.ok(found);
    return found;
  }
  const condition = (status: Status, type: string) => status.conditions?.find((each) => each.type === type);
  const writes = async () =>
    (await plane.audit.writes()).filter(
      ({ user, resource }) => user === OPERATOR_USER && !resource.endsWith('/leases'),
    );

  /**
   * What the operator took to write what somebody else had written before, by the API server's clock: milliseconds. It may
   * see a change, and answer it, before the one who made it has its response; an event is in the log later than its change.
   */
  async function repairs(): Promise<number[]> {
    const made = ['apps/deployments live-gateway', 'services live-logic'];
    let found: { other: AuditEvent; repair: AuditEvent | undefined }[] = [];
    await until('each change and its repair are in the audit log', async () => {
      const all = (await plane.audit.writes()).filter(
        ({ namespace, code, resource, name }) =>
          namespace === 'shop' && code < 300 && made.includes(`${resource.replace('/scale', '')} ${name}`),
      );
      const others = all.filter(({ user, userAgent }) => user !== OPERATOR_USER && userAgent.startsWith('kubectl'));
      found = others.map((other) => {
        const repair = all.find(
          (each) =>
            each.user === OPERATOR_USER &&
            each.received >= other.received &&
            each.name === other.name &&
            each.resource === other.resource.replace('/scale', ''),
        );
        return { other, repair };
      });
      return found.length === 2 && found.every(({ repair }) => repair !== undefined);
    });
    return found.map(({ other, repair }) => repair!.answered - other.answered);
  }

  /** Waits until the operator has written nothing for `ms`. */
  async function quiet(ms: number): Promise<void> {
    let count = -1;
    let since = performance.now();
    await until(`nothing was written for ${ms} ms`, async () => {
      const now = (await writes()).length;
      if (now !== count) since = performance.now();
      count = now;
      return performance.now() - since > ms;
    });
  }

  it('makes all objects of an empty spec, and says what is missing', async () => {
    await namespace('shop');
    await create('shop');
    const found = await status('shop', (each) => condition(each, 'Progressing') !== undefined);
    await until('all objects are there', async () => (await made('shop')).length >= MADE.length);
    assert.deepEqual(await made('shop'), MADE);
    assert.equal(condition(found, 'Available')?.status, 'False');
    assert.equal(condition(found, 'Available')?.reason, 'NatsNotReady');
    assert.equal(condition(found, 'Progressing')?.reason, 'Starting');
    assert.equal(condition(found, 'Degraded')?.status, 'False');
    assert.equal(found.version, '1.2.3');
    assert.equal(found.gateway?.replicas, 2);
    assert.equal(found.endpoints?.apiKeySecret, 'live-api-key');
    assert.equal(found.endpoints?.gateway, 'ws://live-gateway.shop.svc:7777/connect');
    const shown = await plane.kubectl(['get', 'push', 'live', '-n', 'shop', '-o', 'wide']);
    assert.match(
      shown,
      /^NAME +READY +REASON +GATEWAYS +CONNECTIONS +ENDPOINT +VERSION +AGE +LOGIC +NATS +PODS +DRAINING +PROGRESSING +AUTOSCALING +MESSAGE\n/,
    );
    assert.match(
      shown,
      /\nlive +False +NatsNotReady +0\/2 +ws:\S+\/connect +1\.2\.3 +\w+ +0\/2 +0\/1 +\d +0 +Starting +0 of 1 NATS/,
    );
    // Two of two gateways are missing: nothing says that all is well.
    assert.doesNotMatch(
      await plane.kubectl(['describe', 'push', 'live', '-n', 'shop']),
      /as wanted|message: +no problems$/im,
    );
  });

  it('says where the push API is, with TLS too', async () => {
    assert.equal(await path('shop', 'push/live', '.status.endpoints.logic'), 'http://live-logic.shop.svc:7799');
    await namespace('secure');
    await create('secure', { logic: { service: { port: 443, tls: { secretName: 'push-tls' } } } });
    const { endpoints } = await status('secure', (each) => each.endpoints?.logic !== undefined);
    assert.equal(endpoints?.logic, 'https://live-logic.secure.svc:443');
    const port = (field: string) => path('secure', 'service/live-logic', `.spec.ports[0].${field}`);
    await until('its Service is there', async () => (await made('secure')).includes('service/live-logic'));
    assert.deepEqual(await Promise.all(['name', 'appProtocol', 'port'].map(port)), ['https', 'https', '443']);
  });

  it('writes nothing where nothing has changed, though it looks again', async () => {
    await quiet(2_000);
    const reconciles = await reconciled();
    const before = (await writes()).length;
    // A label of somebody else's makes it look, and is nobody's concern.
    await plane.kubectl(['label', 'pushcluster', 'live', '-n', 'shop', 'team=a']);
    await until('it has looked', async () => (await reconciled()) > reconciles);
    await quiet(1_000);
    assert.deepEqual((await writes()).slice(before), []);
  });

  it('repairs what others change or delete within 5 s, and keeps what it generated', async (t) => {
    const lateness = Lateness.during(t);
    const key = await path('shop', 'secret/live-api-key', '.data.key');
    await plane.kubectl(['scale', 'deployment/live-gateway', '-n', 'shop', '--replicas=7']);
    await plane.kubectl(['delete', 'service/live-logic', '-n', 'shop']);
    await until(
      'both are as before',
      async () =>
        (await path('shop', 'deployment/live-gateway', '.spec.replicas')) === '2' &&
        (await made('shop')).includes('service/live-logic'),
    );
    const late = (await repairs()).filter((ms) => ms > REPAIR_MS + lateness.total);
    assert.deepEqual(late, [], 'milliseconds from a change to its repair');
    assert.equal(await path('shop', 'secret/live-api-key', '.data.key'), key);
  });

  it('leaves alone what others add to its objects, and puts back what they change beside', async () => {
    const set = (...what: string[]) => plane.kubectl(['set', ...what, '-n', 'shop']);
    const container = (what: string) =>
      path('shop', 'deployment/live-gateway', `.spec.template.spec.containers[0]${what}`);
    const image = await container('.image');
    await set('env', 'deployment/live-gateway', 'ADDED=yes');
    await set('image', 'deployment/live-gateway', '*=other:1');
    await until('its own is as before', async () => (await container('.image')) === image);
    await quiet(1_000);
    assert.equal(await container('.env[?(@.name=="ADDED")].value'), 'yes');
  });

  it('follows kubectl scale, and deletes what is not wanted any more', async () => {
    await plane.kubectl(['scale', 'pushcluster/live', '-n', 'shop', '--replicas=3']);
    const patch = { spec: { nats: { url: 'nats://n:4222', prefix: 'shop' } } };
    await plane.kubectl(['patch', 'pushcluster/live', '-n', 'shop', '--type=merge', '-p', JSON.stringify(patch)]);
    await until('managed NATS is gone', async () => !(await made('shop')).some((each) => each.includes('nats')));
    assert.equal(await path('shop', 'deployment/live-gateway', '.spec.replicas'), '3');
    const found = await status('shop', () => true);
    assert.deepEqual(found.nats, { url: 'nats://n:4222' });
  });

  // Each in a namespace of its own: most of their time is waiting.
  describe('where something is refused', { concurrency: true }, () => {
    it("leaves another owner's object alone, and says so until the name is free", async () => {
      await namespace('taken');
      await plane.kubectl(['create', 'configmap', 'live-settings', '-n', 'taken', '--from-literal=mine=yes']);
      await create('taken');
      const found = await status('taken', (each) => condition(each, 'Degraded')?.status === 'True');
      const degraded = condition(found, 'Degraded');
      assert.equal(degraded?.reason, 'NameTaken');
      assert.match(
        degraded?.message ?? '',
        /ConfigMap live-settings already exists and does not belong to PushCluster live/,
      );
      assert.equal(await path('taken', 'configmap/live-settings', '.data.mine'), 'yes');
      const events = await plane.kubectl([
        'get',
        'events',
        '-n',
        'taken',
        '--field-selector=reason=NameTaken',
        '-o=name',
      ]);
      assert.match(events, /event\/live\./);
      await plane.kubectl(['delete', 'configmap', 'live-settings', '-n', 'taken']);
      await status('taken', (each) => condition(each, 'Degraded')?.status === 'False');
    });

    it('says what a quota refuses in the words of the API server', async () => {
      await namespace('small');
      const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'q', namespace: 'small' } };
      await apply(plane.kubectl, [{ ...quota, spec: { hard: { 'count/deployments.apps': '0' } } }]);
      await until('the quota counts', async () => (await path('small', 'resourcequota/q', '.status.hard')) !== '');
      await create('small');
      const found = await status('small', (each) => condition(each, 'Degraded')?.status === 'True');
      assert.equal(condition(found, 'Degraded')?.reason, 'Forbidden');
      assert.match(condition(found, 'Degraded')?.message ?? '', /Deployment live-gateway: .*exceeded quota: q/);
    });

    it('says which pods admission refuses, and why', async () => {
      await namespace('restricted', { 'pod-security.kubernetes.io/enforce': 'restricted' });
      await create('restricted', { gateway: { hostNetwork: true } });
      const found = await status('restricted', (each) => condition(each, 'Degraded')?.status === 'True');
      assert.equal(condition(found, 'Degraded')?.reason, 'Forbidden');
      assert.match(
        condition(found, 'Degraded')?.message ?? '',
        /violates PodSecurity "restricted:latest": host namespaces/,
      );
    });

    it('waits for what a deleted PushCluster of the same name has left, and takes nothing of it over', async () => {
      await namespace('again');
      await create('again');
      await until('all objects are there', async () => (await made('again')).length >= MADE.length);
      const uid = await path('again', 'secret/live-api-key', '.metadata.uid');
      const key = await path('again', 'secret/live-api-key', '.data.key');
      // It stays until somebody else is done with it.
      const held = (finalizers: readonly string[]) =>
        plane.kubectl([
          ...['patch', 'secret/live-api-key', '-n', 'again', '--type=merge'],
          ...['-p', JSON.stringify({ metadata: { finalizers } })],
        ]);
      await held(['example.com/backup']);
      await plane.kubectl(['delete', 'pushcluster/live', '-n', 'again']);
      await create('again');
      const found = await status('again', (each) => condition(each, 'Progressing')?.reason === 'NameLeaving');
      assert.match(
        condition(found, 'Progressing')?.message ?? '',
        /waiting for deletion: .* belongs to a deleted PushCluster live and is being deleted/,
      );
      assert.equal(condition(found, 'Degraded')?.status, 'False', JSON.stringify(found));
      const last =
        'waiting for deletion: Secret live-api-key belongs to a deleted PushCluster live and is being deleted';
      await status('again', (each) => condition(each, 'Progressing')?.message === last);
      assert.equal(await path('again', 'secret/live-api-key', '.metadata.uid'), uid);
      await held([]);
      await status('again', (each) => condition(each, 'Progressing')?.reason === 'Starting');
      assert.notEqual(await path('again', 'secret/live-api-key', '.data.key'), key);
      assert.deepEqual(await made('again'), MADE);
      const bad = [
        'get',
        'events',
        '-n',
        'again',
        '--field-selector=type=Warning,involvedObject.kind=PushCluster',
        '-o=name',
      ];
      assert.equal(await plane.kubectl(bad), '');
    });

    it('says which webhook is down, does all else, and goes on by itself when it is gone', async () => {
      await namespace('hooked');
      const webhook = await webhookDown('hooked', 'apps', 'statefulsets');
      await create('hooked');
      const found = await status('hooked', (each) => condition(each, 'Degraded')?.status === 'True');
      assert.equal(condition(found, 'Degraded')?.reason, 'Unavailable');
      assert.match(
        condition(found, 'Degraded')?.message ?? '',
        /^StatefulSet live-nats: .*failed calling webhook "down\.example\.com"/,
      );
      assert.deepEqual(
        await made('hooked'),
        MADE.filter((each) => each !== 'statefulset.apps/live-nats'),
      );
      await plane.kubectl(['delete', webhook]);
      await status('hooked', (each) => condition(each, 'Degraded')?.status === 'False');
      assert.deepEqual(await made('hooked'), MADE);
    });

    it('says what it had no answer about, where a webhook hangs, and does all else', async (t) => {
      await namespace('hung');
      const hanging = createServer(() => {}).listen(0, '127.0.0.1');
      t.after(() => hanging.close());
      await once(hanging, 'listening');
      const { port } = hanging.address() as AddressInfo;
      const webhook = await webhookDown('hung', 'apps', 'statefulsets', `https://127.0.0.1:${port}/`);
      await create('hung');
      // Each look waits for the hanging write until its time limit.
      const found = await status('hung', (each) => condition(each, 'Degraded')?.status === 'True', 150_000);
      assert.equal(condition(found, 'Degraded')?.reason, 'Unavailable');
      assert.match(
        condition(found, 'Degraded')?.message ?? '',
        /^StatefulSet live-nats: no response from the API server to PATCH .*\/statefulsets\/live-nats/,
      );
      assert.deepEqual(
        await made('hung'),
        MADE.filter((each) => each !== 'statefulset.apps/live-nats'),
      );
      await plane.kubectl(['delete', webhook]);
      await status('hung', (each) => condition(each, 'Degraded')?.status === 'False');
    });

    it('says what it may not delete', async () => {
      await namespace('kept');
      await create('kept');
      await until('all objects are there', async () => (await made('kept')).length >= MADE.length);
      const webhook = await webhookDown('kept', 'policy', 'poddisruptionbudgets');
      const external = { spec: { nats: { url: 'nats://n:4222', prefix: 'kept' } } };
      await plane.kubectl(['patch', 'pushcluster/live', '-n', 'kept', '--type=merge', '-p', JSON.stringify(external)]);
      const found = await status('kept', (each) => condition(each, 'Degraded')?.status === 'True');
      assert.match(
        condition(found, 'Degraded')?.message ?? '',
        /^PodDisruptionBudget live-nats: .*failed calling webhook/,
      );
      const left = async () => (await made('kept')).filter((each) => each.includes('nats'));
      assert.deepEqual(await left(), ['poddisruptionbudget.policy/live-nats']);
      await plane.kubectl(['delete', webhook]);
      await status('kept', (each) => condition(each, 'Degraded')?.status === 'False');
      assert.deepEqual(await left(), []);
    });

    it('says which NATS servers admission refuses, and why, and takes it back when they are made', async () => {
      await namespace('natsless');
      const webhook = await webhookDown('natsless', '', 'pods');
      await create('natsless', { logic: { replicas: 0 }, gateway: { replicas: 0 } });
      const found = await status('natsless', (each) => condition(each, 'Degraded')?.status === 'True');
      assert.equal(condition(found, 'Degraded')?.reason, 'Forbidden');
      assert.match(
        condition(found, 'Degraded')?.message ?? '',
        /^StatefulSet live-nats: [Cc]reate Pod live-nats-0 in StatefulSet live-nats failed error: .*failed calling webhook/,
      );
      await plane.kubectl(['delete', webhook]);
      // Its controller waits ever longer for its next try: looked at anew, it tries at once.
      await plane.kubectl(['annotate', 'statefulset/live-nats', '-n', 'natsless', 'looked=at']);
      await status('natsless', (each) => condition(each, 'Degraded')?.status === 'False');
    });
  });

  it('goes on when the API server comes back', async () => {
    await plane.apiServer.kill();
    await plane.apiServer.start();
    await plane.kubectl(['delete', 'service/live-logic', '-n', 'shop']);
    // One whose lease ran out meanwhile ends, and is started again.
    await until('it is there again', async () => (await made('shop')).includes('service/live-logic'));
    await until('it runs', () => operator.isRunning);
  });

  it('leaves nothing behind when a PushCluster is deleted', async () => {
    await plane.kubectl(['delete', 'pushcluster/live', '-n', 'shop']);
    await until('all is gone', async () => (await made('shop')).length === 0, 180_000);
  });

  it('ends with 0 at SIGTERM and gives its lease back', async () => {
    assert.equal(await operator.end(), 0, operator.output);
    assert.equal(await path('default', 'lease/pushcluster-operator', '.spec.holderIdentity'), '');
  });

  /**
   * A webhook that must be asked about a namespace's objects, and that nobody answers for: its name for kubectl.
   * @param url where it is: a closed port where absent
   */
  async function webhookDown(namespace: string, group: string, resource: string, url = CLOSED): Promise<string> {
    const metadata = { name: `down-${namespace}-${resource}` };
    const webhook = (name: string, at: string, apiGroups: string[], resources: string[]) => ({
      ...{ name: `${name}.example.com`, admissionReviewVersions: ['v1'], sideEffects: 'None', failurePolicy: 'Fail' },
      ...{ clientConfig: { url: at }, timeoutSeconds: 30 },
      rules: [{ apiGroups, apiVersions: ['*'], resources, operations: ['CREATE', 'DELETE'] }],
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
    });
    await apply(plane.kubectl, [
      {
        ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingWebhookConfiguration', metadata },
        webhooks: [
          webhook('down', url, [group], [resource]),
          // It tells when the API server has begun to ask.
          webhook('begun', CLOSED, [''], ['resourcequotas']),
        ],
      },
    ]);
    const begun = () => plane.kubectl(['create', 'quota', 'begun', '-n', namespace, '--dry-run=server']);
    await until('it is asked', () =>
      begun().then(
        () => false,
        (error: Error) => error.message.includes('failed calling webhook'),
      ),
    );
    return `validatingwebhookconfiguration/${metadata.name}`;
  }

  /** Reconciles that the metrics count. */
  async function reconciled(): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${operator.adminPort}/metrics`)).text();
    return [...text.matchAll(/^pushcluster_operator_reconcile_total\{.*\} (\d+)$/gm)].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    );
  }
});
