import type { Validity } from '@pushcluster/runtime/certificateMetrics.ts';
import { Gauge, type Registry } from 'prom-client';
import { z } from 'zod';
import { AT_MAXIMUM } from './autoscalerStatus.ts';
import { storableBytes } from './desired/natsConfig.ts';

/**
 * Maximum number of PushClusters with series of their own, by name. There are twelve series each at most, and a scrape should
 * stay below 1 MB. The total number of PushClusters is a metric too.
 */
export const NAMED_CLUSTERS = 1_000;

const count = z.number().int().min(0);
const JetStream = z.object({ storage: z.enum(['memory', 'file']), size: z.string().exactOptional() });

/** The fields that metrics need. Parsing whole PushClusters would take longer than the scrape. */
const Told = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z
    .object({
      gateway: z.object({ replicas: count.exactOptional() }).exactOptional(),
      nats: z.object({ managed: z.object({ jetstream: JetStream.exactOptional() }).exactOptional() }).exactOptional(),
    })
    .exactOptional(),
  status: z
    .object({
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), reason: z.string().default('') }))
        .exactOptional(),
      gateway: z.object({ readyReplicas: count.exactOptional(), draining: count.exactOptional() }).exactOptional(),
    })
    .exactOptional(),
});

const CONDITIONS = ['Ready', 'Available', 'Progressing', 'Degraded', 'Autoscaling'];
const NATS_CERTIFICATE: readonly { name: string; help: string; field: keyof Validity }[] = [
  {
    name: 'expiry_timestamp_seconds',
    help: 'Expiry of the certificate of managed NATS, in the Secret that its servers use. Only the leader exports it.',
    field: 'ends',
  },
  { name: 'lifetime_seconds', help: 'Time from the beginning to the end of that certificate.', field: 'lasts' },
];
const NAME_LABELS = ['cluster_namespace', 'cluster_name'] as const;

/**
 * Registers metrics about each PushCluster, in every replica of the operator, leading or not. The label is not called
 * `namespace` because Prometheus sets that to the namespace of the operator.
 * @param clusters all PushClusters, unparsed
 * @param natsCertificate of managed NATS, by `namespace/name` of the PushCluster; known only to the leader
 */
export function registerClusterMetrics(
  registry: Registry,
  clusters: () => Iterable<unknown>,
  natsCertificate: (key: string) => Validity | undefined,
): void {
  const registers = [registry];
  new Gauge({
    name: 'pushcluster_operator_clusters',
    help: `PushClusters that the operator manages. The first ${NAMED_CLUSTERS.toLocaleString('en')} by name have series of their own.`,
    registers,
    collect() {
      this.set([...clusters()].length);
    },
  });
  new Gauge({
    name: 'pushcluster_operator_cluster_condition',
    help: 'Conditions of a PushCluster: 1 if True, otherwise 0.',
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
    name: 'pushcluster_operator_cluster_autoscaler_limited',
    help: 'Whether the autoscaler of a PushCluster needs more pods than its maxReplicas: 1 or 0.',
    labelNames: NAME_LABELS,
    registers,
    collect() {
      this.reset();
      for (const { labels, status } of told(clusters()))
        if (status?.conditions) this.set(labels, status.conditions.some(({ reason }) => reason === AT_MAXIMUM) ? 1 : 0);
    },
  });
  new Gauge({
    name: 'pushcluster_operator_cluster_gateways',
    help: 'Gateways of a PushCluster, by state: wanted (spec.gateway.replicas), ready, draining.',
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
  new Gauge({
    name: 'pushcluster_operator_cluster_jetstream_bytes',
    help: 'Bytes of messages that each server of managed NATS may store, where it has JetStream.',
    labelNames: NAME_LABELS,
    registers,
    collect() {
      this.reset();
      for (const { labels, spec } of told(clusters())) {
        const jetstream = spec?.nats?.managed?.jetstream;
        if (jetstream) this.set(labels, storableBytes(jetstream));
      }
    },
  });
  for (const each of NATS_CERTIFICATE) registerNatsCertificate(registry, each, { clusters, natsCertificate });
}

function registerNatsCertificate(
  registry: Registry,
  { name, help, field }: { name: string; help: string; field: keyof Validity },
  {
    clusters,
    natsCertificate,
  }: { clusters: () => Iterable<unknown>; natsCertificate: (key: string) => Validity | undefined },
): void {
  new Gauge({
    name: `pushcluster_operator_cluster_nats_certificate_${name}`,
    help,
    labelNames: NAME_LABELS,
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels } of told(clusters())) {
        const value = natsCertificate(keyOf(labels))?.[field];
        if (value !== undefined) this.set(labels, value);
      }
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
