import { parseDuration } from '@pushcluster/protocol/units.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import { checksNodes } from './leavingEndpoints.ts';

/**
 * Longer than load balancers need by default to notice that a node has no gateway: three health checks, one every ten
 * seconds.
 */
const BALANCED = '45s';
/** kube-proxy, and proxies that read endpoints, follow within about two seconds. */
const OTHERWISE = '5s';

/** `gateway.drain.settle`, as set or by its default, milliseconds. */
export function settleTime(cluster: PushCluster): number {
  return parseDuration(drainSettle(cluster)) ?? 0;
}

/** `gateway.drain.settle`, as set or by its default. */
export function drainSettle(cluster: PushCluster): string {
  return cluster.spec.gateway.drain.settle ?? (checksNodes(cluster) ? BALANCED : OTHERWISE);
}
