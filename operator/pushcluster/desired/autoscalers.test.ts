import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Autoscaler, autoscalers as made, type ScaledObject } from './autoscalers.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { gatewayDeployment } from './gateway.ts';
import { logicDeployment } from './logic.ts';

type Made = ReturnType<typeof made>[number];
const isScaledObject = (each: Made | undefined): each is ScaledObject => each?.kind === 'ScaledObject';
const autoscalers = (...args: Parameters<typeof made>) =>
  made(...args).filter((each): each is Autoscaler => !isScaledObject(each));

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
    assert.deepEqual(hpa?.spec?.behavior?.scaleDown?.policies, [
      { type: 'Pods', value: 1, periodSeconds: 660 },
      { type: 'Percent', value: 10, periodSeconds: 660 },
    ]);
  });

  it('never ask for longer windows than Kubernetes allows', () => {
    const drain = { settle: '5m', timeout: '1h' };
    const autoscaling = { maxReplicas: 9, targetCPUUtilization: 60 };
    const { scaleDown } = autoscalers(clusterOf({ gateway: { drain, autoscaling } }))[0]?.spec?.behavior ?? {};
    assert.equal(scaleDown?.stabilizationWindowSeconds, 3_600);
    assert.equal(scaleDown?.policies?.[0]?.periodSeconds, 1_800);
  });

  it('are a ScaledObject where KEDA is to scale, which counts all connections, also those of gateways that drain', () => {
    const keda = { prometheus: 'http://prometheus:9090' };
    const autoscaling = { maxReplicas: 9, targetConnections: 20_000, targetCPUUtilization: 60, keda };
    const [scaled, ...others] = made(clusterOf({ gateway: { autoscaling } }));
    assert.deepEqual(others, []);
    assert.ok(isScaledObject(scaled));
    assert.deepEqual(scaled.spec.scaleTargetRef.kind, 'PushCluster');
    const series = '{namespace="shop",pod=~"live-gateway-[a-z0-9]+(-[a-z0-9]{5})?"}';
    assert.deepEqual(scaled.spec.triggers, [
      {
        type: 'prometheus',
        metricType: 'AverageValue',
        metadata: {
          serverAddress: 'http://prometheus:9090',
          query: `sum(max by (pod) (last_over_time(pushcluster_gateway_connections${series}[1h])) and on (pod) up${series})`,
          threshold: '20000',
          ignoreNullValues: 'false',
        },
      },
      { type: 'cpu', metricType: 'Utilization', metadata: { value: '60', containerName: 'gateway' } },
    ]);
    assert.equal(
      scaled.spec.advanced.horizontalPodAutoscalerConfig.behavior?.scaleDown?.stabilizationWindowSeconds,
      305,
    );
  });

  it('of KEDA hold the number of gateways without metrics, and never remove any where KEDA is too old for that', () => {
    const fallback = (targets: object) => {
      const autoscaling = { maxReplicas: 9, ...targets, keda: { prometheus: 'http://prometheus:9090' } };
      const [scaled] = made(clusterOf({ gateway: { autoscaling } }));
      assert.ok(isScaledObject(scaled));
      return scaled.spec.fallback;
    };
    const held = { failureThreshold: 3, replicas: 9, behavior: 'currentReplicas' };
    assert.deepEqual(fallback({ targetBytesPerSecond: 5 }), held);
    assert.deepEqual(fallback({ targetConnections: 5, targetCPUUtilization: 60 }), held);
    assert.equal(fallback({ targetCPUUtilization: 60 }), undefined, 'KEDA refuses one of CPU alone');
  });

  it('of KEDA ask Prometheus with credentials and headers', () => {
    const keda = {
      prometheus: 'https://prometheus:9090',
      authenticationRef: { name: 'prometheus', kind: 'ClusterTriggerAuthentication' as const },
      authModes: ['bearer' as const, 'tls' as const],
      headers: { 'X-Scope-OrgID': 'shop', 'X-Client': 'a' },
    };
    const [scaled] = made(
      clusterOf({ gateway: { autoscaling: { maxReplicas: 9, targetConnections: 9, targetCPUUtilization: 9, keda } } }),
    );
    assert.ok(isScaledObject(scaled));
    const [first, cpu] = scaled.spec.triggers;
    assert.deepEqual(first?.authenticationRef, { name: 'prometheus', kind: 'ClusterTriggerAuthentication' });
    assert.equal(first?.metadata.authModes, 'bearer,tls');
    assert.equal(first?.metadata.customHeaders, 'X-Scope-OrgID=shop,X-Client=a');
    assert.deepEqual(cpu?.metadata, { value: '9', containerName: 'gateway' });
    assert.equal(cpu?.authenticationRef, undefined);
  });

  it('scale logic by the CPU of its Deployment', () => {
    const [hpa] = autoscalers(clusterOf({ logic: { autoscaling: { maxReplicas: 5 } } }));
    assert.equal(hpa?.spec?.scaleTargetRef.name, 'live-logic');
    assert.equal(hpa?.spec?.metrics?.[0]?.containerResource?.target.averageUtilization, 80);
  });

  it('measure the CPU of our own container, which has the name that they say, and not that of sidecars', () => {
    const autoscaling = { maxReplicas: 9, targetCPUUtilization: 60 };
    const cluster = clusterOf({ gateway: { autoscaling }, logic: { autoscaling: { maxReplicas: 5 } } });
    const measured = autoscalers(cluster).flatMap(({ spec }) => spec?.metrics ?? []);
    assert.deepEqual(
      measured.map(({ type, containerResource }) => [type, containerResource?.name, containerResource?.container]),
      [
        ['ContainerResource', 'cpu', 'gateway'],
        ['ContainerResource', 'cpu', 'logic'],
      ],
    );
    const pods = [gatewayDeployment, logicDeployment].map((made) => made(cluster, contextOf()).spec!.template.spec!);
    assert.deepEqual(
      pods.map(({ containers }) => containers.map(({ name }) => name)),
      [['gateway'], ['logic']],
    );
  });
});
