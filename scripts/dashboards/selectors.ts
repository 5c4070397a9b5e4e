import type { VariableModel } from '@grafana/schema';
import { choiceVariable, labelVariable } from './panels.ts';

/**
 * Selectors of the dashboards. The operator's ServiceMonitor adds the labels that they use. docs/how-to/monitor.md has
 * a scrape configuration that adds the same labels without the ServiceMonitor.
 */

const CHOSEN = 'namespace=~"$namespace",pushcluster_dev_cluster=~"$cluster"';
/** The labels of the operator's series about a cluster. Their label `namespace` is that of the operator. */
const CHOSEN_CLUSTERS = 'cluster_namespace=~"$namespace",cluster_name=~"$cluster"';

/** Labels that identify a cluster, for `by (...)`. */
export const PER_CLUSTER = 'namespace, pushcluster_dev_cluster';
export const PER_POD = 'namespace, pod';
export const CLUSTER_LEGEND = '{{namespace}}/{{pushcluster_dev_cluster}}';

/**
 * Bytes of the Ethernet, IP and TCP headers (with timestamps) of each frame: 14 + 20 + 32. Large frames take several
 * packets, and TLS adds more bytes; then the result is slightly too low.
 */
const HEADER_BYTES = 66;

/**
 * Selects series of gateways and logic in the selected clusters.
 * @param more further matchers
 */
export function chosen(metric: string, more = ''): string {
  return `${metric}{${CHOSEN}${more === '' ? '' : `,${more}`}}`;
}

/** Selects the operator's series about the selected clusters. */
export function clusters(metric: string, more = ''): string {
  return `${metric}{${CHOSEN_CLUSTERS}${more === '' ? '' : `,${more}`}}`;
}

export function gateway(name: string, more = ''): string {
  return chosen(`pushcluster_gateway_${name}`, more);
}

export function logic(name: string, more = ''): string {
  return chosen(`pushcluster_logic_${name}`, more);
}

/** The rate of a counter per second. */
export function rate(counter: string): string {
  return `rate(${counter}[$__rate_interval])`;
}

/**
 * A quantile of a histogram; 0 without observations.
 * @param bucket its series `_bucket`
 * @param by labels that are kept
 */
export function quantile(q: number, bucket: string, by = ''): string {
  const seen = `histogram_quantile(${q}, sum by (${by === '' ? 'le' : `${by}, le`}) (${rate(bucket)}))`;
  return `(${seen} >= 0) or 0 * sum${by === '' ? '' : ` by (${by})`} (${rate(bucket)})`;
}

/**
 * `part` divided by `whole`; `otherwise` if both are 0.
 * @param by labels that both have
 */
export function ratio(part: string, whole: string, otherwise: number, by = ''): string {
  return `(${part} / ${whole} >= 0) or ${otherwise} + 0 * sum${by === '' ? '' : ` by (${by})`} (${whole})`;
}

/** CPU seconds per second of a gateway pod: hub and shards. */
export const GATEWAY_CPU = `sum by (${PER_POD}) (${rate(gateway('shard_cpu_seconds_total'))}) + on (${PER_POD}) sum by (${PER_POD}) (${rate(chosen('process_cpu_seconds_total', 'app_kubernetes_io_component="gateway"'))})`;

/** Resident bytes of a gateway pod: hub and shards. */
export const GATEWAY_MEMORY = `sum by (${PER_POD}) (${gateway('shard_resident_memory_bytes')}) + on (${PER_POD}) sum by (${PER_POD}) (${chosen('process_resident_memory_bytes', 'app_kubernetes_io_component="gateway"')})`;

/** Bytes per second that a gateway pod sends, with packet headers. */
export const GATEWAY_WIRE = `sum by (${PER_POD}) (${rate(gateway('bytes_sent_total'))} + ${HEADER_BYTES} * ${rate(gateway('frames_sent_total'))})`;

export const CLUSTER_VARIABLES: readonly VariableModel[] = [
  labelVariable('namespace', 'Namespace', 'label_values(pushcluster_gateway_connections, namespace)'),
  labelVariable(
    'cluster',
    'PushCluster',
    'label_values(pushcluster_gateway_connections{namespace=~"$namespace"}, pushcluster_dev_cluster)',
  ),
];

export const POD_VARIABLE: VariableModel = labelVariable(
  'pod',
  'Gateway',
  'label_values(pushcluster_gateway_connections{namespace=~"$namespace",pushcluster_dev_cluster=~"$cluster"}, pod)',
);

/** A pod can't find the line rate of its node's network card: a veth device always reports 10 Gbit/s. */
export const LINE_RATE_VARIABLE: VariableModel = choiceVariable('line_rate', 'Line rate of a node', {
  '10 Gbit/s': '1.25e9',
  '1 Gbit/s': '1.25e8',
  '25 Gbit/s': '3.125e9',
  '40 Gbit/s': '5e9',
  '100 Gbit/s': '1.25e10',
});
