import type { PushCluster } from '../../api/pushCluster.ts';
import { CONNECTIONS_METRIC } from '../../metricsApi/api.ts';
import { names } from './names.ts';

/**
 * PromQL for KEDA: sums over all gateways that Prometheus knows as targets. A gateway that cannot be scraped counts with
 * its last value for an hour, since it is not empty; one that is gone does not count. Gateways that drain count, because
 * their connections need capacity elsewhere: the autoscaler divides by the number of gateways that stay. No target at
 * all is an empty answer, which is not 0.
 */
const LOST = '1h';

/** The number of connections. */
export function connectionsQuery(cluster: PushCluster): string {
  return sumOf(`last_over_time(${CONNECTIONS_METRIC}${selector(cluster)}[${LOST}])`, cluster);
}

/** Bytes sent per second, over two minutes: Prometheus scrapes once a minute by default. */
export function bytesQuery(cluster: PushCluster): string {
  const rate = `rate(pushcluster_gateway_bytes_sent_total${selector(cluster)}[2m])`;
  return sumOf(`(${rate} or last_over_time(${rate}[${LOST}:1m]))`, cluster);
}

/** Each gateway counts once, also if two jobs scrape it. */
function sumOf(values: string, cluster: PushCluster): string {
  return `sum(max by (pod) (${values}) and on (pod) up${selector(cluster)})`;
}

/** The gateways, by the labels that Prometheus gives to targets. */
function selector(cluster: PushCluster): string {
  const { namespace } = cluster.metadata;
  return `{namespace="${namespace}",pod=~"${names(cluster).gateway}-[a-z0-9]+(-[a-z0-9]{5})?"}`;
}
