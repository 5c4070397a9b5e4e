import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { autoscalers } from './autoscalers.ts';
import { clusterOf } from './fixture.ts';

describe('autoscalers', () => {
  it('are made only where they are asked for', () => {
    assert.deepEqual(autoscalers(clusterOf()), []);
  });

  it('scale gateways through the PushCluster, so that the operator drains', () => {
    const [hpa] = autoscalers(clusterOf({ gateway: { autoscaling: { maxReplicas: 9, targetConnections: 20_000 } } }));
    assert.deepEqual(hpa?.spec?.scaleTargetRef, {
      apiVersion: 'pushcluster.dev/v1alpha1',
      kind: 'PushCluster',
      name: 'live',
    });
    assert.deepEqual(
      hpa?.spec?.metrics?.map(({ pods }) => [pods?.metric.name, pods?.target.averageValue]),
      [['pushcluster_gateway_connections', '20000']],
    );
  });

  it('take gateways away no sooner than a drain takes', () => {
    const drain = { settle: '1m', timeout: '10m' };
    const autoscaling = { maxReplicas: 9, targetCPUUtilization: 60 };
    const [hpa] = autoscalers(clusterOf({ gateway: { drain, autoscaling } }));
    assert.equal(hpa?.spec?.behavior?.scaleDown?.stabilizationWindowSeconds, 660);
    assert.deepEqual(hpa?.spec?.behavior?.scaleDown?.policies, [{ type: 'Pods', value: 1, periodSeconds: 660 }]);
  });

  it('never ask for longer windows than Kubernetes allows', () => {
    const drain = { settle: '5m', timeout: '1h' };
    const autoscaling = { maxReplicas: 9, targetCPUUtilization: 60 };
    const { scaleDown } = autoscalers(clusterOf({ gateway: { drain, autoscaling } }))[0]?.spec?.behavior ?? {};
    assert.equal(scaleDown?.stabilizationWindowSeconds, 3_600);
    assert.equal(scaleDown?.policies?.[0]?.periodSeconds, 1_800);
  });

  it('scale logic by the CPU of its Deployment', () => {
    const [hpa] = autoscalers(clusterOf({ logic: { autoscaling: { maxReplicas: 5 } } }));
    assert.equal(hpa?.spec?.scaleTargetRef.name, 'live-logic');
    assert.equal(hpa?.spec?.metrics?.[0]?.resource?.target.averageUtilization, 80);
  });
});
