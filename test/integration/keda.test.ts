import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const autoscaling = { minReplicas: 2, maxReplicas: 6, targetConnections: 20_000 };
const keda = { prometheus: 'http://prometheus.monitoring.svc:9090' };

/** KEDA itself is not there: this is its kind, as far as the API server is concerned, and with any content. */
const SCALED_OBJECTS = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'scaledobjects.keda.sh' },
  spec: {
    group: 'keda.sh',
    scope: 'Namespaced',
    names: { kind: 'ScaledObject', plural: 'scaledobjects' },
    versions: [
      {
        ...{ name: 'v1alpha1', served: true, storage: true },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

describe('a PushCluster that KEDA is to scale', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
    const [adminPort = 0] = await freePorts(1);
    operator = new OperatorProcess(plane, { adminPort });
    await operator.start();
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  const pushCluster = (gateway: object) =>
    apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec: { gateway },
      },
    ]);
  const get = (...args: string[]) => plane.kubectl(['get', '-n', NAMESPACE, '--ignore-not-found', ...args]);
  const soon = (what: string, holds: () => Promise<boolean>) =>
    until(what, holds, 30_000).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });

  it('says that KEDA is missing where it is', async () => {
    await pushCluster({ autoscaling: { ...autoscaling, keda } });
    const path = '-o=jsonpath={.status.conditions[?(@.type=="Degraded")]}';
    let degraded = '';
    await soon('it says so', async () => {
      degraded = await get('pushcluster/live', path);
      return degraded.includes('"True"');
    });
    assert.match(degraded, /KindMissing/);
    assert.match(degraded, /ScaledObject live-gateway/);
    assert.equal(await get('hpa', '-o=name'), '');
  });

  it('has a ScaledObject in place of a HorizontalPodAutoscaler', async () => {
    await operator.end();
    await apply(plane.kubectl, [SCALED_OBJECTS]);
    await plane.kubectl(['wait', '--for=condition=Established', 'crd/scaledobjects.keda.sh', '--timeout=30s']);
    await operator.start();
    await soon('it is there', async () => (await get('scaledobject', '-o=name')) !== '');
    const target = await get('scaledobject/live-gateway', '-o=jsonpath={.spec.scaleTargetRef}');
    assert.deepEqual(JSON.parse(target), { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', name: 'live' });
    assert.equal(await get('hpa', '-o=name'), '');
  });

  it('has a HorizontalPodAutoscaler again where KEDA is not to scale it any more', async () => {
    await pushCluster({ autoscaling });
    await soon('it is there', async () => (await get('hpa', '-o=name')).includes('live-gateway'));
    await soon('the ScaledObject is gone', async () => (await get('scaledobject', '-o=name')) === '');
  });
});
