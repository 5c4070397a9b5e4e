import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { until } from '../harness/until.ts';

type Gateway = { replicas?: number; autoscaling?: object };

/** The ways in which people apply a manifest. */
const WAYS = {
  'kubectl apply': ['apply'],
  'kubectl apply --server-side': ['apply', '--server-side'],
  'Argo CD': ['apply', '--server-side', '--force-conflicts', '--field-manager=argocd-controller'],
  Helm: ['apply', '--server-side', '--field-manager=helm'],
  'kubectl replace': ['replace'],
} as const;
type Way = keyof typeof WAYS;

const autoscaling = { minReplicas: 2, maxReplicas: 9, targetCPUUtilization: 60 };

describe('the number of gateways that a manifest does not name', () => {
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

  const manifest = (namespace: string, gateway: Gateway) =>
    JSON.stringify({
      apiVersion: 'pushcluster.dev/v1alpha1',
      kind: 'PushCluster',
      metadata: { name: 'live', namespace },
      spec: {
        gateway: { drain: { settle: '0s' }, ...gateway },
        logic: { replicas: 1 },
        nats: { url: 'nats://n:4222', prefix: namespace },
      },
    });
  const get = async (namespace: string): Promise<PushCluster> =>
    PushCluster.parse(JSON.parse(await plane.kubectl(['get', 'push', 'live', '-n', namespace, '-o=json'])));
  const deployed = async (namespace: string): Promise<number> =>
    Number(await plane.kubectl(['get', 'deployment/live-gateway', '-n', namespace, '-o=jsonpath={.spec.replicas}']));
  const events = (namespace: string, reason: string) =>
    plane.kubectl([
      ...['get', 'events.events.k8s.io', '-n', namespace, `--field-selector=reason=${reason}`],
      '-o=jsonpath={range .items[*]}{.note}{"\\n"}{end}',
    ]);

  /** Applies a manifest, and waits until the operator has done what it says. Returns the number of gateways. */
  async function applied(namespace: string, way: Way, gateway: Gateway): Promise<number> {
    await plane.kubectl([...WAYS[way], '-f', '-'], manifest(namespace, gateway));
    let cluster: PushCluster | undefined;
    await until('the operator has followed', async () => {
      cluster = await get(namespace);
      const { metadata, spec, status } = cluster;
      const count = spec.gateway.replicas;
      if (count === undefined || status?.observedGeneration !== metadata.generation) return false;
      return status.gateway?.replicas === count && (await deployed(namespace)) === count;
    }).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(cluster)}\n${operator.output.slice(-3_000)}`);
    });
    return cluster?.spec.gateway.replicas ?? 0;
  }
  async function scaled(namespace: string, replicas: number): Promise<void> {
    await plane.kubectl(['scale', 'push/live', '-n', namespace, `--replicas=${replicas}`]);
    await until('there are as many', async () => (await deployed(namespace)) === replicas);
  }
  async function namespaceOf(way: Way): Promise<string> {
    const name = `n-${Math.random().toString(36).slice(2, 8)}-${way.toLowerCase().replace(/[^a-z]+/g, '-')}`;
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }]);
    return name;
  }
  /** Gateways that were removed, drained or not. */
  const removals = async (namespace: string) =>
    `${await events(namespace, 'DrainStarted')}${await events(namespace, 'ScaledDown')}`;

  for (const way of Object.keys(WAYS) as Way[]) {
    it(`stays what it was, whatever is left out, and while an autoscaler is turned on and off: ${way}`, async () => {
      const namespace = await namespaceOf(way);
      // `replace` needs an object.
      assert.equal(await applied(namespace, way === 'kubectl replace' ? 'kubectl apply' : way, {}), 2);
      assert.equal(await events(namespace, 'ReplicasKept'), '');
      assert.equal(await applied(namespace, way, { replicas: 4 }), 4);
      assert.equal(await applied(namespace, way, {}), 4);
      await until('it is told', async () => (await events(namespace, 'ReplicasKept')) !== '');
      assert.match(await events(namespace, 'ReplicasKept'), /spec\.gateway\.replicas is not set: it stays 4/);
      assert.equal(await applied(namespace, way, {}), 4);
      assert.equal(await applied(namespace, way, { autoscaling }), 4);
      // As the autoscaler does.
      await scaled(namespace, 6);
      assert.equal(await applied(namespace, way, { autoscaling: { ...autoscaling, maxReplicas: 8 } }), 6);
      assert.equal(await applied(namespace, way, {}), 6);
      assert.equal(await applied(namespace, way, { replicas: 7 }), 7);
      // In one step.
      assert.equal(await applied(namespace, way, { autoscaling }), 7);
      assert.equal(await removals(namespace), '');
    });
  }

  it('is not that of a manifest that names one beside an autoscaler: each apply would undo what that did', async () => {
    const way = 'Argo CD';
    const namespace = await namespaceOf(way);
    assert.equal(await applied(namespace, way, { replicas: 2, autoscaling }), 2);
    await scaled(namespace, 5);
    await plane.kubectl([...WAYS[way], '-f', '-'], manifest(namespace, { replicas: 2, autoscaling }));
    await until('it is told', async () => (await events(namespace, 'ReplicasIgnored')) !== '');
    assert.match(
      await events(namespace, 'ReplicasIgnored'),
      /was set to 2, but spec\.gateway\.autoscaling sets it: it stays 5\. Remove it from the manifest/,
    );
    assert.equal((await get(namespace)).spec.gateway.replicas, 5);
    assert.equal(await removals(namespace), '');
    // A number without an autoscaler is meant.
    await plane.kubectl([...WAYS[way], '-f', '-'], manifest(namespace, { replicas: 4 }));
    await until('one goes', async () => (await deployed(namespace)) === 4);
  });

  it('is not changed by an autoscaler that has no metrics, which the status tells while there is one', async () => {
    const namespace = await namespaceOf('kubectl apply');
    const told = async () => (await get(namespace)).status?.conditions?.find(({ type }) => type === 'Autoscaling');
    assert.equal(await applied(namespace, 'kubectl apply', { replicas: 3 }), 3);
    assert.equal(await told(), undefined);
    assert.equal(await applied(namespace, 'kubectl apply', { autoscaling }), 3);
    await until('it is told', async () => (await told())?.reason === 'FailedGetContainerResourceMetric', 120_000);
    const condition = await told();
    assert.equal(condition?.status, 'False');
    assert.match(condition?.message ?? '', /^HorizontalPodAutoscaler live-gateway: .*unable to get/);
    await until('an event tells', async () => (await events(namespace, 'FailedGetContainerResourceMetric')) !== '');
    assert.equal(await applied(namespace, 'kubectl apply', {}), 3);
    await until('it is told no more', async () => (await told()) === undefined);
  });

  it('is within the bounds of the autoscaler', async () => {
    const namespace = await namespaceOf('kubectl apply');
    assert.equal(await applied(namespace, 'kubectl apply', { autoscaling: { ...autoscaling, minReplicas: 3 } }), 3);
    assert.equal(await applied(namespace, 'kubectl apply', { autoscaling: { ...autoscaling, minReplicas: 5 } }), 5);
    const low = { ...autoscaling, minReplicas: 1, maxReplicas: 4 };
    await plane.kubectl(['apply', '-f', '-'], manifest(namespace, { autoscaling: low }));
    await until('it is the most', async () => (await get(namespace)).spec.gateway.replicas === 4);
  });

  it('is not written while the operator is paused', async () => {
    const namespace = await namespaceOf('kubectl apply');
    assert.equal(await applied(namespace, 'kubectl apply', { replicas: 3 }), 3);
    const paused = JSON.parse(manifest(namespace, {}));
    await apply(plane.kubectl, [{ ...paused, spec: { ...paused.spec, paused: true } }]);
    await until('it is told', async () => {
      const { status, metadata } = await get(namespace);
      return status?.observedGeneration === metadata.generation;
    });
    const { spec, status } = await get(namespace);
    assert.equal(spec.gateway.replicas, undefined);
    assert.equal(status?.gateway?.replicas, 3);
    assert.equal(await applied(namespace, 'kubectl apply', {}), 3);
  });
});
