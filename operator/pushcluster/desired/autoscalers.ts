import type { V2HorizontalPodAutoscaler, V2MetricSpec } from '@kubernetes/client-node';
import { parseDuration } from '@pushcluster/protocol/units.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names } from './names.ts';

type Autoscaler = V2HorizontalPodAutoscaler & DesiredObject;

/** Metrics of pods as an adapter of the custom metrics API offers them. */
const CONNECTIONS_METRIC = 'pushcluster_gateway_connections';
const BYTES_METRIC = 'pushcluster_gateway_bytes_sent_per_second';

/** Longest window that Kubernetes allows, seconds. */
const LONGEST_WINDOW = 3_600;

/** The autoscalers that a cluster asks for. */
export function autoscalers(cluster: PushCluster): Autoscaler[] {
  return [gatewayAutoscaler(cluster), logicAutoscaler(cluster)].filter((autoscaler) => autoscaler !== undefined);
}

/** Scales the PushCluster itself, whose operator drains before it removes. */
function gatewayAutoscaler(cluster: PushCluster): Autoscaler | undefined {
  const { autoscaling } = cluster.spec.gateway;
  if (autoscaling === undefined) return undefined;
  const metrics: V2MetricSpec[] = [];
  if (autoscaling.targetConnections !== undefined)
    metrics.push(podsMetric(CONNECTIONS_METRIC, autoscaling.targetConnections));
  if (autoscaling.targetBytesPerSecond !== undefined)
    metrics.push(podsMetric(BYTES_METRIC, autoscaling.targetBytesPerSecond));
  if (autoscaling.targetCPUUtilization !== undefined) metrics.push(cpuMetric(autoscaling.targetCPUUtilization));
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: metadataOf(cluster, names(cluster).gateway, 'gateway'),
    spec: {
      scaleTargetRef: { apiVersion: cluster.apiVersion, kind: cluster.kind, name: cluster.metadata.name },
      minReplicas: autoscaling.minReplicas,
      maxReplicas: autoscaling.maxReplicas,
      metrics,
      behavior: autoscaling.behavior ?? gatewayBehavior(cluster),
    },
  };
}

function logicAutoscaler(cluster: PushCluster): Autoscaler | undefined {
  const { autoscaling } = cluster.spec.logic;
  if (autoscaling === undefined) return undefined;
  const behavior = autoscaling.behavior;
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: metadataOf(cluster, names(cluster).logic, 'logic'),
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: names(cluster).logic },
      minReplicas: autoscaling.minReplicas,
      maxReplicas: autoscaling.maxReplicas,
      metrics: [cpuMetric(autoscaling.targetCPUUtilization)],
      ...(behavior === undefined ? {} : { behavior }),
    },
  };
}

/** Up fast; down one by one, with a pause as long as a drain may take: people are moved each time. */
function gatewayBehavior({ spec: { gateway } }: PushCluster) {
  const drain = (parseDuration(gateway.drain.settle) ?? 0) + (parseDuration(gateway.drain.timeout) ?? 0);
  const pause = Math.min(LONGEST_WINDOW, Math.max(300, Math.ceil(drain / 1_000)));
  return {
    scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: 'Percent', value: 100, periodSeconds: 30 }] },
    scaleDown: {
      stabilizationWindowSeconds: pause,
      policies: [{ type: 'Pods', value: 1, periodSeconds: Math.min(1_800, pause) }],
    },
  };
}

function podsMetric(name: string, average: number): V2MetricSpec {
  return {
    type: 'Pods',
    pods: { metric: { name }, target: { type: 'AverageValue', averageValue: String(average) } },
  };
}

function cpuMetric(averageUtilization: number): V2MetricSpec {
  return { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } } };
}
