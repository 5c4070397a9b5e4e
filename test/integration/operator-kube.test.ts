import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { API_VERSION, KIND, PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { Applier } from '@pushcluster/operator/kube/applier.ts';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import { NotLeading } from '@pushcluster/operator/kube/elector.ts';
import { isKubeError, type KubeErrorReason } from '@pushcluster/operator/kube/errors.ts';
import { EventRecorder } from '@pushcluster/operator/kube/eventRecorder.ts';
import { KINDS } from '@pushcluster/operator/kube/objects.ts';
import { type Change, Reflector, type ReflectorOptions } from '@pushcluster/operator/kube/reflector.ts';
import { desired } from '@pushcluster/operator/pushcluster/desired/desired.ts';
import { POD_DEFAULTS } from '@pushcluster/operator/pushcluster/desired/pods.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { established } from '../harness/cluster/kubectl.ts';
import { startTcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';

const ADMIN = '/O=system:masters/CN=';
const NAMESPACE = 'default';
const CRD_FILE = new URL('../../crds/pushclusters.pushcluster.dev.yaml', import.meta.url).pathname;

const configMap = (name: string, data: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: NAMESPACE, labels: { test: 'yes' } },
  data,
});

/** What a promise was rejected with, as far as it matters. */
async function refusal(promise: Promise<unknown>): Promise<{ reason: KubeErrorReason; code: number; message: string }> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isKubeError(error), String(error));
    return { reason: error.reason, code: error.code, message: error.message };
  }
  throw new Error('nothing was refused');
}

describe('the operator and a real API server', () => {
  let plane: ControlPlane;
  let client: Client;
  const reflectors: Reflector[] = [];
  const closeAtEnd: { close: () => Promise<void> }[] = [];

  before(async () => {
    plane = await startControlPlane();
    client = new Client(connect({ KUBECONFIG: plane.kubeconfig }));
  });
  after(async () => {
    await Promise.all(reflectors.map((each) => each.stop()));
    await Promise.all(closeAtEnd.map((each) => each.close()));
    await plane.stop();
  });

  /** A reflector of the test's ConfigMaps, and what it tells: `added a`, ... */
  function reflect(name: string, options: Partial<ReflectorOptions> = {}) {
    const changes: string[] = [];
    const onChange = ({ type, object }: Change) => changes.push(`${type} ${object.metadata.name}`);
    const reflector = new Reflector({
      client,
      kind: KINDS.configMaps,
      namespace: NAMESPACE,
      labelSelector: `test=${name}`,
      onChange,
      ...options,
    });
    reflectors.push(reflector);
    reflector.start();
    return { reflector, changes };
  }

  const labelled = (test: string, name: string, data: Record<string, string> = {}) => ({
    ...configMap(name, data),
    metadata: { name, namespace: NAMESPACE, labels: { test } },
  });

  describe('a client', () => {
    it('applies again what is there already without a write', async () => {
      const first = await client.apply(configMap('applied', { a: '1' }));
      const second = await client.apply(configMap('applied', { a: '1' }));
      assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
      const third = await client.apply(configMap('applied', { b: '2' }));
      assert.notEqual(third.metadata.resourceVersion, first.metadata.resourceVersion);
      // What was applied before and isn't any more is gone.
      assert.deepEqual(third['data' as keyof typeof third], { b: '2' });
    });

    it('keeps its connections for the calls that follow', async () => {
      const fresh = new Client(connect({ KUBECONFIG: plane.kubeconfig }));
      const before = connectionsTo(plane.port);
      for (let call = 0; call < 30; call++) await fresh.get(configMap('applied'));
      // One may still be busy with its answer's end when the next call begins.
      const opened = connectionsTo(plane.port) - before;
      assert.ok(opened <= 2, `${opened} connections`);
    });

    it('keeps every field and every time as the API server wrote them', async () => {
      const found = await client.get({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
      assert.match(found?.metadata.creationTimestamp ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      const [listed] = await client.listAll(KINDS.namespaces, { fieldSelector: `metadata.name=${NAMESPACE}` });
      assert.deepEqual(listed, found);
    });

    it('says why something was refused, in the words of the API server', async () => {
      const guest = new Client(connect({ KUBECONFIG: await plane.kubeconfigFor('/O=guests/CN=somebody') }));
      const forbidden = await refusal(guest.apply(configMap('applied')));
      assert.equal(forbidden.reason, 'forbidden');
      assert.match(forbidden.message, /"somebody" cannot patch resource "configmaps"/);
      const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'bad', namespace: NAMESPACE } };
      const invalid = await refusal(client.apply(deployment));
      assert.equal(invalid.reason, 'invalid');
      assert.match(invalid.message, /spec.selector: Required value/);
      const taken = await refusal(client.create(configMap('applied')));
      assert.equal(taken.reason, 'conflict');
      assert.match(taken.message, /configmaps "applied" already exists/);
      const nowhere = { ...configMap('x'), metadata: { name: 'x', namespace: 'nowhere' } };
      assert.equal((await refusal(client.apply(nowhere))).reason, 'notFound');
    });

    it('finds nothing where nothing is, and deletes it without a complaint', async () => {
      assert.equal(await client.get(configMap('none')), undefined);
      assert.equal(await client.delete(configMap('none')), false);
      await client.apply(configMap('short-lived'));
      const wrong = { uid: '00000000-0000-0000-0000-000000000000' };
      assert.equal((await refusal(client.delete(configMap('short-lived'), wrong))).reason, 'conflict');
      assert.equal(await client.delete(configMap('short-lived')), true);
      assert.equal(await client.get(configMap('short-lived')), undefined);
    });

    it('does not send a write whose right ends while it is on its way', async () => {
      let asked = 0;
      // Asked by the client, then with the credentials at hand, then with a connection at hand.
      const guarded = client.guarded(() => {
        if (++asked < 3) return 1_000;
        throw new NotLeading('too late');
      });
      await assert.rejects(guarded.apply(configMap('too-late')), NotLeading);
      assert.equal(asked, 3);
      assert.equal(await client.get(configMap('too-late')), undefined);
      assert.ok((await plane.audit.writes()).every(({ name }) => name !== 'too-late'));
    });

    it('knows which kinds the API server has', async () => {
      const { deployments, statefulSets, pods, serviceMonitors, prometheusRules } = KINDS;
      const reads = client.counts.reads;
      const served = await client.served([deployments, serviceMonitors, prometheusRules, pods, statefulSets]);
      assert.deepEqual(served, [deployments, pods, statefulSets]);
      assert.equal(client.counts.reads - reads, 3, 'a group is asked for once');
    });
  });

  describe('an applier', () => {
    const owner = (uid: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid });

    it('asks nothing when nothing is to do, and repairs what somebody has changed', async () => {
      const applier = new Applier(client);
      const { reflector } = reflect('repair');
      const wanted = labelled('repair', 'drifts', { a: '1' });
      const key = `${NAMESPACE}/drifts`;
      assert.equal((await applier.apply(wanted, undefined)).changed, true);
      await until('it is seen', () => reflector.get(key) !== undefined);
      const requests = { ...client.counts };
      assert.deepEqual((await applier.apply(wanted, reflector.get(key))).asked, false);
      assert.deepEqual({ ...client.counts }, requests);
      await plane.kubectl(['patch', 'configmap', 'drifts', '-p', '{"data":{"a":"2"}}']);
      await until('the change is seen', () => JSON.stringify(reflector.get(key)).includes('"a":"2"'));
      assert.equal((await applier.apply(wanted, reflector.get(key))).changed, true);
      await until('it is repaired', () => JSON.stringify(reflector.get(key)).includes('"a":"1"'));
      await reflector.stop();
    });

    it('leaves alone what belongs to somebody else, and says whose it is', async () => {
      const made = await client.apply(configMap('owner'));
      const uid = made.metadata.uid ?? '';
      const owned = {
        ...configMap('taken'),
        metadata: { name: 'taken', namespace: NAMESPACE, ownerReferences: [owner(uid)] },
      };
      await client.apply(configMap('taken', { mine: 'yes' }));
      const said = await refusal(new Applier(client).apply(owned, undefined));
      assert.equal(said.reason, 'taken');
      assert.match(said.message, /ConfigMap taken already exists and does not belong to ConfigMap owner/);
      await client.delete(configMap('taken'));
      assert.equal((await new Applier(client).apply(owned, undefined)).changed, true);
      await client.delete(configMap('taken'));
    });
  });

  describe('all that an empty PushCluster needs', () => {
    it('is taken by the API server as it is, and is not asked for again', async () => {
      await plane.kubectl(['apply', '--server-side', '-f', CRD_FILE]);
      await established(plane.kubectl, 'pushclusters.pushcluster.dev');
      const empty = {
        apiVersion: API_VERSION,
        kind: KIND,
        metadata: { name: 'empty', namespace: NAMESPACE },
        spec: {},
      };
      const cluster = PushCluster.parse(await client.apply(empty));
      const objects = desired(cluster, {
        images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
        podDefaults: POD_DEFAULTS,
        gatewayReplicas: 2,
        releasesOld: false,
        holdsOld: false,
        leaving: [],
        logicReplicas: 2,
        serviceMonitors: false,
        secrets: new Map(),
        random: randomBytes,
      });
      const applier = new Applier(client);
      const began = performance.now();
      for (const object of objects) assert.equal((await applier.apply(object, undefined)).changed, true);
      console.log(`${objects.length} objects applied in ${Math.round(performance.now() - began)} ms`);
      // Controllers add what is theirs (a status, a revision) once, and then are done.
      await until('nothing is asked any more', async () => {
        let asked = 0;
        for (const object of objects) asked += Number((await applier.apply(object, await client.get(object))).asked);
        return asked === 0;
      });
      await client.delete(cluster);
    });
  });

  describe('events', () => {
    it('are found beside the object that they are about, and count what is said again', async () => {
      const about = await client.apply(configMap('eventful'));
      const recorder = new EventRecorder(client, 'operator-0');
      const event = {
        type: 'Warning',
        reason: 'QuotaExceeded',
        action: 'Apply',
        note: 'exceeded quota: small',
      } as const;
      recorder.record(about, event);
      recorder.record(about, event);
      await recorder.flush();
      const described = await plane.kubectl(['describe', 'configmap', 'eventful']);
      assert.match(described, /Warning\s+QuotaExceeded.*exceeded quota: small/);
      assert.equal(recorder.counts.written, 1);
      assert.equal(recorder.counts.repeated, 1);
    });
  });

  describe('a reflector', () => {
    it('has all objects, however many pages they come on, and learns of changes', async () => {
      for (const name of ['p1', 'p2', 'p3', 'p4', 'p5']) await client.apply(labelled('pages', name));
      const { reflector, changes } = reflect('pages', { page: 2 });
      await reflector.whenSynced();
      assert.deepEqual([...reflector.objects()].map(({ metadata }) => metadata.name).sort(), [
        'p1',
        'p2',
        'p3',
        'p4',
        'p5',
      ]);
      await client.apply(labelled('pages', 'p1', { new: 'yes' }));
      await client.delete(configMap('p2'));
      await until('both are seen', () => changes.includes('deleted p2'));
      assert.deepEqual(changes.slice(5), ['changed p1', 'deleted p2']);
      assert.equal('managedFields' in (reflector.get(`${NAMESPACE}/p1`)?.metadata ?? {}), false);
      await reflector.stop();
    });

    it('goes on when the API server is killed and comes back', async () => {
      await client.apply(labelled('killed', 'k1'));
      const { reflector, changes } = reflect('killed');
      await reflector.whenSynced();
      await plane.apiServer.kill();
      await until('it has noticed', () => reflector.trouble !== undefined);
      assert.equal(reflector.trouble?.reason, 'unavailable');
      await plane.apiServer.start();
      await client.apply(labelled('killed', 'k2'));
      await until('it sees what is new', () => changes.includes('added k2'));
      assert.deepEqual(changes, ['added k1', 'added k2']);
      await until('it has no trouble any more', () => reflector.trouble === undefined);
      await reflector.stop();
    });

    it('notices a watch that hangs', async () => {
      await client.apply(labelled('hung', 'h1'));
      const silence = 1_000;
      const { reflector, changes } = reflect('hung', { silence });
      await reflector.whenSynced();
      await plane.apiServer.pause();
      const before = reflector.counts.silences;
      await until('it has noticed', () => reflector.counts.silences > before);
      assert.match(reflector.trouble?.message ?? '', /the watch of configmaps had no response for 1000 ms/);
      plane.apiServer.resume();
      await client.apply(labelled('hung', 'h2'));
      await until('it sees what is new', () => changes.includes('added h2'));
      assert.deepEqual(changes, ['added h1', 'added h2']);
      assert.equal(reflector.counts.lists, 1);
      await reflector.stop();
    });

    it('lists anew when what it missed is compacted away, and still tells of what was deleted meanwhile', async () => {
      const proxy = await startTcpProxy(plane.port);
      closeAtEnd.push(proxy);
      const kubeconfig = await plane.kubeconfigFor(`${ADMIN}cut-off`, `https://127.0.0.1:${proxy.port}`);
      for (const name of ['c1', 'c2', 'c3']) await client.apply(labelled('compacted', name));
      const { reflector, changes } = reflect('compacted', { client: new Client(connect({ KUBECONFIG: kubeconfig })) });
      await reflector.whenSynced();
      await client.apply(labelled('compacted', 'c1', { new: 'yes' }));
      await until('it watches', () => changes.includes('changed c1'));
      proxy.cut();
      proxy.reset();
      await until('it is cut off', () => reflector.trouble !== undefined);
      await client.delete(configMap('c2'));
      const { metadata } = await client.apply(labelled('compacted', 'c3', { new: 'yes' }));
      await compact(plane, metadata.resourceVersion ?? '');
      // Its cache of recent changes reaches back further than etcd does: a new one begins empty.
      await plane.apiServer.kill();
      await plane.apiServer.start();
      await proxy.heal();
      await until('it has caught up', () => changes.length === 6);
      assert.deepEqual(changes.slice(4).sort(), ['changed c3', 'deleted c2']);
      assert.equal(reflector.counts.expired, 1);
      assert.equal(reflector.counts.lists, 2);
      await reflector.stop();
    });
  });
});

/** TCP connections of this process to a port of this machine that are open. */
function connectionsTo(port: number): number {
  const own = new Set(readdirSync('/proc/self/fd').flatMap((fd) => socketOf(fd) ?? []));
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/self/net/tcp', 'utf8').trim().split('\n').slice(1);
  return rows.filter((row) => {
    const [, , to, state, , , , , , inode = ''] = row.trim().split(/\s+/);
    return to?.endsWith(remote) && state === '01' && own.has(inode);
  }).length;
}

/** The inode of the socket that a descriptor of this process is; undefined if it is none, or closed by now. */
function socketOf(descriptor: string): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
  } catch {
    return undefined;
  }
}

/** Makes etcd forget what was before a revision. */
async function compact(plane: ControlPlane, revision: string): Promise<void> {
  const command = readFileSync(`/proc/${plane.etcd.pid}/cmdline`, 'utf8').split('\0');
  const url = command.find((each) => each.startsWith('--listen-client-urls='))?.split('=')[1];
  const response = await fetch(`${url}/v3/kv/compaction`, {
    method: 'POST',
    body: JSON.stringify({ revision, physical: true }),
  });
  assert.equal(response.status, 200, await response.text());
}
