import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { PushCluster, Status } from '@pushcluster/operator/api/pushCluster.ts';
import { leavingEndpoints } from '@pushcluster/operator/pushcluster/desired/leavingEndpoints.ts';
import { isReady as isPodReady } from '@pushcluster/operator/pushcluster/observedGateways.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const Cluster = z.object({ metadata: z.object({ generation: z.number() }), status: Status.prefault({}) });
const Owner = z.object({ metadata: z.object({ uid: z.string() }) });
const Workload = z.object({
  metadata: z.object({ generation: z.number(), resourceVersion: z.string() }),
  spec: z.object({
    replicas: z.number(),
    template: z.object({ spec: z.object({ containers: z.array(z.object({ image: z.string() })) }) }),
  }),
});
const HEAD = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
/** Without NATS: its pods are not played. */
const SPEC = { gateway: { replicas: 1 }, logic: { replicas: 1 }, nats: { url: 'nats://n:4222', prefix: 'p' } };

describe('an operator of another version', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;
  let podPort = 0;

  before(async () => {
    plane = await startControlPlane();
    [podPort = 0] = await freePorts(1);
    await OperatorProcess.install(plane);
    operator = await operatorOf('gateway:1', 1);
    pods = new PlayedPods(plane, podPort);
    await Promise.all([operator.start(), pods.start()]);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
  });

  async function operatorOf(image: string, rollouts: number): Promise<OperatorProcess> {
    const [adminPort = 0] = await freePorts(1);
    const env = { POD_PORT: String(podPort), GATEWAY_IMAGE: image, MAX_ROLLOUTS: String(rollouts) };
    return new OperatorProcess(plane, { adminPort, env });
  }
  async function namespace(name: string): Promise<void> {
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }]);
  }
  const create = (namespace: string, name: string, spec: object = {}) =>
    apply(plane.kubectl, [{ ...HEAD, metadata: { name, namespace }, spec: { ...SPEC, ...spec } }]);
  const patch = (namespace: string, name: string, spec: object) =>
    plane.kubectl(['patch', 'push', name, '-n', namespace, '--type=merge', '-p', JSON.stringify({ spec })]);
  const json = async (kind: string, namespace: string, name: string): Promise<unknown> =>
    JSON.parse(await plane.kubectl(['get', kind, name, '-n', namespace, '-o=json']));
  const cluster = async (namespace: string, name: string) => Cluster.parse(await json('push', namespace, name));
  const gateways = async (namespace: string, name: string) =>
    Workload.parse(await json('deployment', namespace, `${name}-gateway`));
  async function condition(namespace: string, name: string, type: string, wanted: string): Promise<string> {
    let found: Status['conditions'];
    await until(`${type} of ${name} is ${wanted}`, async () => {
      found = (await cluster(namespace, name)).status.conditions;
      return found?.some((each) => each.type === type && `${each.status}/${each.reason}` === wanted) ?? false;
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(found)}\n${operator.output.slice(-2_000)}`);
    });
    return found?.find((each) => each.type === type)?.message ?? '';
  }
  const isReady = (namespace: string, name: string) => condition(namespace, name, 'Ready', 'True/Ready');
  const exists = async (kind: string, namespace: string, name: string) =>
    (await plane.kubectl(['get', kind, name, '-n', namespace, '-o=name', '--ignore-not-found'])) !== '';

  /** Makes an EndpointSlice of a gateway that has left and gone. */
  async function leftBehind(namespace: string, name: string): Promise<void> {
    const { metadata } = Owner.parse(await json('push', namespace, name));
    const owner = { apiVersion: HEAD.apiVersion, kind: HEAD.kind, name, uid: metadata.uid };
    const [slice] = leavingEndpoints(
      PushCluster.parse({
        metadata: { name, namespace, uid: metadata.uid },
        spec: { gateway: { service: { type: 'LoadBalancer', externalTrafficPolicy: 'Local' } } },
      }),
      [{ name: 'gone', uid: 'gone', node: 'node1', addresses: ['10.0.0.1'] }],
    );
    const renamed = { ...slice?.metadata, name: `${name}-left-behind`, ownerReferences: [owner] };
    await apply(plane.kubectl, [{ ...slice, metadata: renamed }]);
  }

  it('says of a PushCluster with a value that it does not know which one, and reconciles all others', async () => {
    await namespace('later');
    // The CRD of a later version, and a PushCluster that was stored with it.
    const later = JSON.parse(JSON.stringify(crd()).replace('"ClusterIP"]', '"ClusterIP","Gateway"]'));
    await apply(plane.kubectl, [later]);
    await until('the later CRD counts', () =>
      create('later', 'odd', { gateway: { replicas: 1, service: { type: 'Gateway' } } }).then(
        () => true,
        () => false,
      ),
    );
    await apply(plane.kubectl, [crd()]);
    await create('later', 'live');
    const message = await condition('later', 'odd', 'Degraded', 'True/NotUnderstood');
    assert.match(message, /^spec\.gateway\.service\.type: must be .*, is "Gateway": this version of the operator/);
    await condition('later', 'odd', 'Ready', 'False/NotUnderstood');
    await isReady('later', 'live');
    assert.equal(await exists('deployment', 'later', 'odd-gateway'), false);
    await leftBehind('later', 'odd');
    await until('endpoints of a gateway that has gone are withdrawn', async () => {
      return !(await exists('endpointslice', 'later', 'odd-left-behind'));
    });
    await patch('later', 'odd', { gateway: { service: { type: 'ClusterIP' } } });
    await isReady('later', 'odd');
    await condition('later', 'odd', 'Degraded', 'False/NoProblems');
    await plane.kubectl(['delete', 'push', 'odd', 'live', '-n', 'later']);
  });

  it('writes a status without the fields that an older CRD does not have', async () => {
    await namespace('earlier');
    const earlier = structuredClone(crd());
    const schema = earlier.spec.versions[0]?.schema.openAPIV3Schema.properties?.status;
    delete schema?.properties?.gateway?.properties?.draining;
    delete schema?.properties?.endpoints;
    delete schema?.properties?.conditions?.items?.properties?.observedGeneration;
    await apply(plane.kubectl, [earlier]);
    await until('the earlier CRD counts', async () => {
      const fields = await plane.kubectl(['explain', 'pushclusters.status', '--api-version', HEAD.apiVersion]);
      return !fields.includes('endpoints');
    });
    await create('earlier', 'live');
    await isReady('earlier', 'live');
    const { status } = await cluster('earlier', 'live');
    assert.equal(status.gateway?.readyReplicas, 1);
    assert.equal(status.gateway?.draining, undefined);
    assert.equal(status.endpoints, undefined);
    assert.match(operator.output, /without fields that the installed CRD does not have/);
    await apply(plane.kubectl, [crd()]);
    await plane.kubectl(['delete', 'push', 'live', '-n', 'earlier']);
  });

  it('changes nothing of a paused PushCluster, says so, and lets it be deleted', async () => {
    await namespace('quiet');
    await create('quiet', 'live');
    await isReady('quiet', 'live');
    await patch('quiet', 'live', { paused: true });
    const message = await condition('quiet', 'live', 'Progressing', 'False/Paused');
    assert.match(message, /^spec\.paused is true: the operator changes nothing/);
    const before = await gateways('quiet', 'live');
    await patch('quiet', 'live', { gateway: { replicas: 3, shards: 5 }, image: { gateway: 'gateway:9' } });
    // The operator has seen the change: its status describes this generation.
    await until('the status is of the last generation', async () => {
      const { metadata, status } = await cluster('quiet', 'live');
      return status.observedGeneration === metadata.generation;
    });
    assert.deepEqual(await gateways('quiet', 'live'), before);
    await leftBehind('quiet', 'live');
    await until('endpoints of a gateway that has gone are withdrawn', async () => {
      return !(await exists('endpointslice', 'quiet', 'live-left-behind'));
    });
    assert.deepEqual(await gateways('quiet', 'live'), before);
    await patch('quiet', 'live', { paused: false });
    await until('the changes were made', async () => {
      const { spec } = await gateways('quiet', 'live');
      return spec.replicas === 3 && spec.template.spec.containers[0]?.image === 'gateway:9';
    });
    await patch('quiet', 'live', { paused: true });
    await plane.kubectl(['delete', 'push', 'live', '-n', 'quiet', '--wait=false']);
    await until('it is deleted', async () => !(await exists('push', 'quiet', 'live')));
    await until('and its objects', async () => !(await exists('deployment', 'quiet', 'live-gateway')));
  });

  it('rolls out one PushCluster at a time where that is the limit: others wait, and scale; pinned images stay', async () => {
    await namespace('fleet');
    const names = ['a', 'b', 'c'];
    const autoscaling = { minReplicas: 1, maxReplicas: 5, targetConnections: 1_000 };
    for (const name of names) await create('fleet', name, { gateway: { replicas: 1, autoscaling } });
    await create('fleet', 'pinned', { image: { gateway: 'gateway:pinned' } });
    for (const name of [...names, 'pinned']) await isReady('fleet', name);
    const pinned = await gateways('fleet', 'pinned');
    await operator.end();
    // New pods do not become ready, so that the first rollout does not end.
    pods.startsReady = false;
    operator = await operatorOf('gateway:2', 1);
    await operator.start();
    const progressing = async (name: string) =>
      (await cluster('fleet', name)).status.conditions?.find(({ type }) => type === 'Progressing');
    const waiting = async () => {
      const found = await Promise.all(names.map(async (name) => ({ name, is: await progressing(name) })));
      return found.filter(({ is }) => is?.reason === 'RolloutWaits').map(({ name }) => name);
    };
    await until('two wait', async () => (await waiting()).length === 2).catch((error: Error) => {
      throw new Error(`${error.message}\n${operator.output.slice(-2_000)}`);
    });
    const [one = '', other = ''] = await waiting();
    const first = names.find((name) => name !== one && name !== other) ?? '';
    const wanted = 'waiting to replace pods: at most 1 PushCluster does so at a time';
    assert.equal((await progressing(one))?.message, wanted);
    assert.equal(imageIn(await gateways('fleet', first)), 'gateway:2');
    await plane.kubectl(['scale', 'push', one, '-n', 'fleet', '--replicas=2']);
    await until('one that waits scales', async () => (await gateways('fleet', one)).spec.replicas === 2);
    for (const name of [one, other]) assert.equal(imageIn(await gateways('fleet', name)), 'gateway:1');
    pods.startsReady = true;
    await until('all are rolled out, one after the other', async () => {
      for (const { name } of pods.of('fleet')) {
        const pod = pods.object('fleet', name);
        if (pod && !isPodReady(pod)) await pods.setReady('fleet', name, true);
      }
      const images = await Promise.all(names.map(async (name) => imageIn(await gateways('fleet', name))));
      return images.every((image) => image === 'gateway:2');
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${operator.output.slice(-2_000)}`);
    });
    const unchanged = await gateways('fleet', 'pinned');
    assert.equal(imageIn(unchanged), 'gateway:pinned');
    assert.equal(unchanged.metadata.generation, pinned.metadata.generation, 'nothing of it was rolled out');
  });
});

function imageIn({ spec }: z.infer<typeof Workload>): string | undefined {
  return spec.template.spec.containers[0]?.image;
}
