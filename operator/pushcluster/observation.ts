import { createHash } from 'node:crypto';
import { FILES_BEHIND_PROXY_PROTOCOL } from '@pushcluster/protocol/settings.ts';
import type { PushCluster } from '../api/pushCluster.ts';
import { autoscalerStatus } from './autoscalerStatus.ts';
import type { ClusterCache } from './clusterCache.ts';
import { managedNats } from './desired/bus.ts';
import type { Images } from './desired/context.ts';
import { selectorLabels } from './desired/names.ts';
import { settingsText } from './desired/settingsConfigMap.ts';
import type { DisplayedNumbers } from './displayedNumbers.ts';
import { exposure } from './exposure.ts';
import { historyDurability } from './historyDurability.ts';
import type { NotReadyReason } from './notReadyReason.ts';
import type { Readings } from './observedGateways.ts';
import { type PodStatusSummary, type ReportedPod, summarizePodStatus } from './podStatusSummary.ts';
import type { ObservedGateways, ScalePlan } from './scalePolicy.ts';
import type { Observed, Problem } from './status.ts';

/**
 * Summarizes the statuses that the pods of a cluster report.
 * @param unmounted why pods wait for volumes, by uid
 * @param now milliseconds since 1970
 */
export function podStatusSummary(
  cache: ClusterCache,
  cluster: PushCluster,
  gateways: ObservedGateways,
  readings: Readings,
  { unmounted, now }: { unmounted: ReadonlyMap<string, NotReadyReason>; now: number },
): PodStatusSummary {
  const current = new Map(gateways.pods.map((pod) => [pod.uid, pod]));
  const isLogicCurrent = cache.isLogicCurrent(cluster);
  const pods: ReportedPod[] = [];
  for (const pod of cache.pods(cluster, 'gateway')) {
    const known = current.get(pod.metadata.uid ?? '');
    const isLeaving = known === undefined || known.drainSince !== undefined;
    pods.push({ pod, role: 'gateway', isLeaving, isCurrent: gateways.isSettled && known?.isCurrent === true });
  }
  for (const pod of cache.pods(cluster, 'logic')) {
    const isLeaving = pod.metadata.deletionTimestamp !== undefined;
    pods.push({ pod, role: 'logic', isLeaving, isCurrent: isLogicCurrent });
  }
  // Managed servers that are about to be removed, because of `nats.url`, are left out.
  if (managedNats(cluster) !== undefined)
    for (const pod of cache.pods(cluster, 'nats'))
      pods.push({ pod, role: 'nats', isLeaving: pod.metadata.deletionTimestamp !== undefined, isCurrent: true });
  const files = new Map<string, string>();
  const settingsFile = (role: 'gateway' | 'logic', generation: number) => {
    const id = `${role} ${generation}`;
    const hash = files.get(id) ?? sha256(settingsText(cluster, role, generation));
    files.set(id, hash);
    return hash;
  };
  const { connections, service } = cluster.spec.gateway;
  const filesEach = service.proxyProtocol ? FILES_BEHIND_PROXY_PROTOCOL : 1;
  const expected = { maxConnections: connections.max, filesEach, settingsFile };
  return summarizePodStatus(pods, readings, expected, now, unmounted);
}

/** Everything that the status is computed from. */
export function observation(
  cache: ClusterCache,
  cluster: PushCluster,
  images: Images,
  found: {
    gateways: ObservedGateways;
    /** Number of gateways that are asked for. */
    wanted: number;
    planned: ScalePlan;
    summary: PodStatusSummary;
    shown: DisplayedNumbers;
    problems: readonly Problem[];
    held?: Observed['held'];
    natsChange?: string | undefined;
  },
): Observed {
  const { gateways, planned, summary, shown } = found;
  const serving = gateways.pods.filter(({ drainSince }) => drainSince === undefined);
  const ready = serving.filter(({ isReady }) => isReady);
  const draining = gateways.pods.length - serving.length;
  const observed = cache.observed(cluster, images);
  return {
    ...observed,
    gateway: {
      wanted: found.wanted,
      ready: ready.length,
      current: gateways.isSettled ? ready.filter(({ isCurrent }) => isCurrent).length : 0,
      replicas: Math.max(0, planned.replicas - draining),
      draining: draining + gateways.terminating,
      pods: {
        total: gateways.pods.length + gateways.terminating,
        ready: gateways.pods.filter(({ isReady }) => isReady).length,
        terminating: gateways.terminating,
      },
      left: shown.left,
      connections: shown.connections,
      // All gateways, including those that the Service does not select: an HPA that does not count the connections of
      // draining or overfull gateways would ask for too few.
      selector: Object.entries(selectorLabels(cluster, 'gateway'))
        .map(([name, value]) => `${name}=${value}`)
        .join(','),
    },
    scaling: planned,
    autoscaler: autoscalerStatus(cluster, cache),
    summary: { ...summary, fullest: shown.fullest },
    problems: found.problems,
    natsChange: found.natsChange,
    exposed: exposure(cluster),
    durable: historyDurability(cluster),
    ...(found.held ? { held: found.held, version: cluster.status?.version ?? observed.version } : {}),
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
