import { Gauge, type Registry } from 'prom-client';
import { z } from 'zod';

/**
 * PushClusters with series of their own: those that come first by name. Seven series each, so that a scrape stays below
 * a megabyte; how many there are in all is a metric too.
 */
export const NAMED_CLUSTERS = 1_000;

const count = z.number().int().min(0);

/** What is told of a PushCluster. Parsing all of it for each scrape would cost more than the scrape. */
const Told = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.object({ gateway: z.object({ replicas: count.exactOptional() }).exactOptional() }).exactOptional(),
  status: z
    .object({
      conditions: z.array(z.object({ type: z.string(), status: z.string() })).exactOptional(),
      gateway: z.object({ readyReplicas: count.exactOptional(), draining: count.exactOptional() }).exactOptional(),
    })
    .exactOptional(),
});

const CONDITIONS = ['Ready', 'Available', 'Progressing', 'Degraded'];
const NAME_LABELS = ['cluster_namespace', 'cluster_name'] as const;

/**
 * Registers what every operator replica, leading or not, sees of each PushCluster. The labels are not called `namespace`:
 * that is the operator's own at whoever scrapes it.
 * @param clusters all PushClusters, as the API server has them
 */
export function registerClusterMetrics(registry: Registry, clusters: () => Iterable<unknown>): void {
  const registers = [registry];
  new Gauge({
    name: 'pushcluster_operator_clusters',
    help: `PushClusters that the operator looks after; the first ${NAMED_CLUSTERS.toLocaleString('en')} by name have series of their own.`,
    registers,
    collect() {
      this.set([...clusters()].length);
    },
  });
  new Gauge({
    name: 'pushcluster_operator_cluster_condition',
    help: "1 where a condition of a PushCluster's status is True, 0 where it is not.",
    labelNames: [...NAME_LABELS, 'condition'],
    registers,
    collect() {
      this.reset();
      for (const { labels, status } of told(clusters()))
        for (const { type, status: is } of status?.conditions ?? [])
          if (CONDITIONS.includes(type)) this.set({ ...labels, condition: type }, is === 'True' ? 1 : 0);
    },
  });
  new Gauge({
    name: 'pushcluster_operator_cluster_gateways',
    help: 'Gateways of a PushCluster: wanted (spec.gateway.replicas), ready, draining.',
    labelNames: [...NAME_LABELS, 'state'],
    registers,
    collect() {
      this.reset();
      for (const { labels, spec, status } of told(clusters()))
        for (const [state, gateways] of [
          ['wanted', spec?.gateway?.replicas],
          ['ready', status?.gateway?.readyReplicas],
          ['draining', status?.gateway?.draining],
        ] as const)
          if (gateways !== undefined) this.set({ ...labels, state }, gateways);
    },
  });
}

function told(clusters: Iterable<unknown>) {
  return [...clusters]
    .flatMap((each) => Told.safeParse(each).data ?? [])
    .map(({ metadata: { name, namespace }, ...rest }) => ({
      ...rest,
      labels: { cluster_namespace: namespace, cluster_name: name },
    }))
    .sort((a, b) => (keyOf(a.labels) < keyOf(b.labels) ? -1 : 1))
    .slice(0, NAMED_CLUSTERS);
}

function keyOf(labels: { cluster_namespace: string; cluster_name: string }): string {
  return `${labels.cluster_namespace}/${labels.cluster_name}`;
}
