import type { V2HorizontalPodAutoscaler, V2MetricSpec } from '@kubernetes/client-node';
import { parseDuration } from '@pushcluster/protocol/units.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import { BYTES_METRIC, CONNECTIONS_METRIC } from '../../metricsApi/api.ts';
import { bytesQuery, connectionsQuery } from './autoscalerQueries.ts';
import type { DesiredObject } from './context.ts';
import { drainSettle } from './drainSettle.ts';
import { metadataOf } from './metadata.ts';
import { names } from './names.ts';

export type Autoscaler = V2HorizontalPodAutoscaler & DesiredObject;
type Scaling = NonNullable<PushCluster['spec']['gateway']['autoscaling']>;

/** A ScaledObject of KEDA: the fields that are used here. */
export type ScaledObject = DesiredObject & {
  spec: {
    scaleTargetRef: { apiVersion: string; kind: string; name: string };
    minReplicaCount: number;
    maxReplicaCount: number;
    pollingInterval: number;
    advanced: { horizontalPodAutoscalerConfig: { behavior: Scaling['behavior'] } };
    fallback?: { failureThreshold: number; replicas: number; behavior: 'currentReplicas' };
    triggers: {
      type: string;
      metricType: 'AverageValue' | 'Utilization';
      metadata: Record<string, string>;
      authenticationRef?: { name: string; kind: string };
    }[];
  };
};

/** Longest stabilization window that Kubernetes allows, seconds. */
const LONGEST_WINDOW = 3_600;
/** Longest period of a scaling policy that Kubernetes allows, seconds. */
const LONGEST_PERIOD = 1_800;
/** Kubernetes' default stabilization window for scaling down, seconds. */
const SHORTEST_PAUSE = 300;
/** Interval at which KEDA queries Prometheus, seconds: similar to its scrape interval. */
const POLLING_SECONDS = 15;
/** Queries in a row that fail before KEDA reports it and holds the number of gateways. */
const FAILED_QUERIES = 3;

/** The autoscalers of a cluster. */
export function autoscalers(cluster: PushCluster): (Autoscaler | ScaledObject)[] {
  const { autoscaling } = cluster.spec.gateway;
  const gateways = autoscaling?.keda
    ? scaledObject(cluster, autoscaling, autoscaling.keda)
    : gatewayAutoscaler(cluster);
  return [gateways, logicAutoscaler(cluster)].filter((autoscaler) => autoscaler !== undefined);
}

/** Names of the autoscalers of a cluster, and the fields that ask for them. KEDA makes the HPA of a ScaledObject. */
export function scalerNames(cluster: PushCluster): { autoscaler: string; scaledObject?: string; field: string }[] {
  const { gateway, logic } = names(cluster);
  const { autoscaling } = cluster.spec.gateway;
  return [
    ...(autoscaling?.keda
      ? [{ autoscaler: `keda-hpa-${gateway}`, scaledObject: gateway, field: 'gateway.autoscaling' }]
      : autoscaling
        ? [{ autoscaler: gateway, field: 'gateway.autoscaling' }]
        : []),
    ...(cluster.spec.logic.autoscaling ? [{ autoscaler: logic, field: 'logic.autoscaling' }] : []),
  ];
}

/** Scales the PushCluster itself, so that the operator drains gateways before it removes them. */
function gatewayAutoscaler(cluster: PushCluster): Autoscaler | undefined {
  const { autoscaling } = cluster.spec.gateway;
  if (autoscaling === undefined) return undefined;
  const metrics: V2MetricSpec[] = [];
  if (autoscaling.targetConnections !== undefined)
    metrics.push(podsMetric(CONNECTIONS_METRIC, autoscaling.targetConnections));
  if (autoscaling.targetBytesPerSecond !== undefined)
    metrics.push(podsMetric(BYTES_METRIC, autoscaling.targetBytesPerSecond));
  if (autoscaling.targetCPUUtilization !== undefined)
    metrics.push(cpuMetric('gateway', autoscaling.targetCPUUtilization));
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: metadataOf(cluster, names(cluster).gateway, 'gateway'),
    spec: {
      scaleTargetRef: { apiVersion: cluster.apiVersion, kind: cluster.kind, name: cluster.metadata.name },
      minReplicas: autoscaling.minReplicas,
      maxReplicas: autoscaling.maxReplicas,
      metrics,
      behavior: { ...gatewayBehavior(cluster), ...autoscaling.behavior },
    },
  };
}

/** KEDA creates a HorizontalPodAutoscaler from it, for the same target. */
function scaledObject(cluster: PushCluster, autoscaling: Scaling, keda: NonNullable<Scaling['keda']>): ScaledObject {
  const { name } = cluster.metadata;
  const gateway = names(cluster).gateway;
  const { authenticationRef, authModes, headers, prometheus } = keda;
  const customHeaders = Object.entries(headers).map(([name, value]) => `${name}=${value}`);
  const triggers: ScaledObject['spec']['triggers'] = [];
  const query = (text: string, threshold: number) =>
    triggers.push({
      type: 'prometheus',
      metricType: 'AverageValue',
      metadata: {
        serverAddress: prometheus,
        query: text,
        threshold: String(threshold),
        // No answer is not 0 connections.
        ignoreNullValues: 'false',
        ...(authModes.length > 0 ? { authModes: authModes.join(',') } : {}),
        ...(customHeaders.length > 0 ? { customHeaders: customHeaders.join(',') } : {}),
      },
      ...(authenticationRef ? { authenticationRef } : {}),
    });
  const { targetConnections, targetBytesPerSecond, targetCPUUtilization } = autoscaling;
  if (targetConnections !== undefined) query(connectionsQuery(cluster), targetConnections);
  if (targetBytesPerSecond !== undefined) query(bytesQuery(cluster), targetBytesPerSecond);
  if (targetCPUUtilization !== undefined)
    triggers.push({
      type: 'cpu',
      metricType: 'Utilization',
      metadata: { value: String(targetCPUUtilization), containerName: 'gateway' },
    });
  // KEDA refuses a fallback of CPU alone. Versions before 2.17 do not know `behavior`, and would add gateways up to the
  // maximum: never remove any.
  const hasFallback = triggers.some(({ metricType }) => metricType === 'AverageValue');
  const { maxReplicas } = autoscaling;
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: metadataOf(cluster, gateway, 'gateway'),
    spec: {
      scaleTargetRef: { apiVersion: cluster.apiVersion, kind: cluster.kind, name },
      minReplicaCount: autoscaling.minReplicas,
      maxReplicaCount: autoscaling.maxReplicas,
      pollingInterval: POLLING_SECONDS,
      advanced: {
        horizontalPodAutoscalerConfig: { behavior: { ...gatewayBehavior(cluster), ...autoscaling.behavior } },
      },
      ...(hasFallback
        ? { fallback: { failureThreshold: FAILED_QUERIES, replicas: maxReplicas, behavior: 'currentReplicas' } }
        : {}),
      triggers,
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
      metrics: [cpuMetric('logic', autoscaling.targetCPUUtilization)],
      ...(behavior === undefined ? {} : { behavior }),
    },
  };
}

/**
 * Scale up quickly, at most doubling or adding four at a time, as Kubernetes does by default. Scale down by one gateway
 * or a tenth in the time that a drain may take, since each step moves clients.
 */
function gatewayBehavior(cluster: PushCluster) {
  const drain = (parseDuration(drainSettle(cluster)) ?? 0) + (parseDuration(cluster.spec.gateway.drain.timeout) ?? 0);
  const pause = Math.min(LONGEST_WINDOW, Math.max(SHORTEST_PAUSE, Math.ceil(drain / 1_000)));
  const periodSeconds = Math.min(LONGEST_PERIOD, pause);
  return {
    scaleUp: {
      stabilizationWindowSeconds: 0,
      policies: [
        { type: 'Percent', value: 100, periodSeconds: 15 },
        { type: 'Pods', value: 4, periodSeconds: 15 },
      ],
      selectPolicy: 'Max',
    },
    scaleDown: {
      stabilizationWindowSeconds: pause,
      policies: [
        { type: 'Pods', value: 1, periodSeconds },
        { type: 'Percent', value: 10, periodSeconds },
      ],
      selectPolicy: 'Max',
    },
  } satisfies Scaling['behavior'];
}

function podsMetric(name: string, average: number): V2MetricSpec {
  return {
    type: 'Pods',
    pods: { metric: { name }, target: { type: 'AverageValue', averageValue: String(average) } },
  };
}

/** Of the container that bears the name of the role: the CPU of a sidecar says nothing about its load. */
function cpuMetric(container: 'gateway' | 'logic', averageUtilization: number): V2MetricSpec {
  return {
    type: 'ContainerResource',
    containerResource: { name: 'cpu', container, target: { type: 'Utilization', averageUtilization } },
  };
}
