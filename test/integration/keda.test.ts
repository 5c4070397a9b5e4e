import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { autoscalers } from '@pushcluster/operator/pushcluster/desired/autoscalers.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { installKinds } from '../harness/releasedKinds.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const autoscaling = { minReplicas: 2, maxReplicas: 6, targetConnections: 20_000 };
const keda = {
  prometheus: 'http://prometheus.monitoring.svc:9090',
  authenticationRef: { name: 'prometheus' },
  authModes: ['bearer'],
  headers: { 'X-Scope-OrgID': 'shop' },
};
/** All that a ScaledObject can be asked for. */
const everything = { ...autoscaling, targetBytesPerSecond: 50_000_000, targetCPUUtilization: 70, keda };
const ScaledObject = z.object({ spec: z.looseObject({ scaleTargetRef: z.unknown() }) });

describe('a PushCluster that KEDA is to scale', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  before(async () => {
    plane = await startControlPlane();
    operator = await OperatorProcess.startIn(plane, NAMESPACE);
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
  /** The specification that the operator asks for. */
  const wanted = () => {
    const metadata = { name: 'live', namespace: NAMESPACE, uid: '' };
    const cluster = PushCluster.parse({ metadata, spec: { gateway: { autoscaling: everything } } });
    const made = autoscalers(cluster).find(({ kind }) => kind === 'ScaledObject');
    assert.ok(made);
    return made.spec;
  };
  const get = (...args: string[]) => plane.kubectl(['get', '-n', NAMESPACE, '--ignore-not-found', ...args]);
  const soon = (what: string, holds: () => Promise<boolean>) =>
    until(what, holds).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });

  it('says that KEDA is missing where it is', async () => {
    await pushCluster({ autoscaling: { ...autoscaling, keda } });
    const path = '-o=jsonpath={.status.conditions[?(@.type=="Degraded")]}';
    let degraded = '';
    await soon('it says so', async () => {
      degraded = await get('pushcluster/live', path);
      return degraded.includes('KindMissing');
    });
    assert.match(degraded, /"True"/);
    assert.match(degraded, /ScaledObject live-gateway: the kind ScaledObject .* is not installed: install KEDA/);
    assert.equal(await get('hpa', '-o=name'), '');
  });

  it('has a ScaledObject in place of a HorizontalPodAutoscaler', async () => {
    await operator.end();
    await pushCluster({ autoscaling: everything });
    await installKinds(plane, 'keda', 'scaledobjects.keda.sh');
    await operator.start();
    await soon('it is there', async () => (await get('scaledobject', '-o=name')) !== '');
    const { spec } = ScaledObject.parse(JSON.parse(await get('scaledobject/live-gateway', '-o=json')));
    // What KEDA's schema does not know would have been left out without a word.
    assert.deepEqual(spec, wanted());
    assert.deepEqual(spec.scaleTargetRef, {
      ...{ apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', name: 'live' },
    });
    assert.equal(await get('hpa', '-o=name'), '');
  });

  it("has one that KEDA's schema would refuse with anything wrong in it", async () => {
    const triggers = [{ type: 'prometheus' }];
    const patch = ['--type=merge', '-p', JSON.stringify({ spec: { triggers } })];
    await assert.rejects(
      plane.kubectl(['patch', '-n', NAMESPACE, 'scaledobject/live-gateway', ...patch]),
      /spec\.triggers\[0\]\.metadata: Required value/,
    );
  });

  it('has a HorizontalPodAutoscaler again where KEDA is not to scale it any more', async () => {
    await pushCluster({ autoscaling });
    await soon('it is there', async () => (await get('hpa', '-o=name')).includes('live-gateway'));
    await soon('the ScaledObject is gone', async () => (await get('scaledobject', '-o=name')) === '');
  });
});
