import { GROUP, type PushCluster } from '../../api/pushCluster.ts';

/** Role of a pod. */
export type Role = 'gateway' | 'logic' | 'nats';

/** What an object is made for: a role, or monitoring. */
export type Component = Role | 'metrics' | 'alerts' | 'dashboards';

/** Value of the label app.kubernetes.io/managed-by. */
const MANAGED_BY = 'pushcluster-operator';

/** Label with the name of the PushCluster that an object belongs to. */
export const CLUSTER_LABEL = `${GROUP}/cluster`;
/** Pod label in the selector of the gateway Service: a pod without it gets no new connections. */
export const SERVING_LABEL = `${GROUP}/serving`;
/**
 * Pod annotation that makes a gateway drain. The pod reads it from DRAIN_FILE. If it is missing or empty, it serves.
 */
export const DRAIN_ANNOTATION = `${GROUP}/drain`;
/** Pod annotation: when the gateway left the Service. */
export const LEFT_ANNOTATION = `${GROUP}/left`;
/** Pod template annotation: hash of the static settings. A change causes a rollout. */
export const STATIC_SETTINGS_ANNOTATION = `${GROUP}/static-settings`;
/**
 * Annotation of Deployments and pods: the Secret with the CA that they trust for managed NATS. Without it, they connect
 * without TLS. Of the StatefulSet of NATS: `required` or, if servers accept both, `optional`, then the Secret with their
 * certificate, and its fingerprint.
 */
export const NATS_TLS_ANNOTATION = `${GROUP}/nats-tls`;
/** Annotation of the StatefulSet of NATS: where its servers store. Without it, they store nothing. */
export const NATS_STORAGE_ANNOTATION = `${GROUP}/nats-storage`;
/** Pod annotation: hash of all settings. A change makes the kubelet update the mounted ConfigMap immediately. */
export const SETTINGS_ANNOTATION = `${GROUP}/settings`;

export const GATEWAY_PORT = 7_777;
export const LOGIC_PORT = 7_799;
export const ADMIN_PORT = 9_090;
export const NATS_PORT = 4_222;
export const NATS_ROUTES_PORT = 6_222;
export const NATS_MONITOR_PORT = 8_222;
/** The exporter's own default. */
export const NATS_EXPORTER_PORT = 7_777;
/** Name of the exporter's port, and of its container. */
export const NATS_EXPORTER = 'exporter';

const FILES = '/etc/pushcluster';
export const SETTINGS_FOLDER = `${FILES}/settings`;
export const SETTINGS_FILE = `${SETTINGS_FOLDER}/settings.yaml`;
export const POD_FOLDER = `${FILES}/pod`;
/** File with the value of DRAIN_ANNOTATION. */
export const DRAIN_FILE = `${POD_FOLDER}/drain`;
export const NATS_FOLDER = `${FILES}/nats`;
/** Folder of JetStream, in the pods of NATS. */
export const JETSTREAM_FOLDER = '/var/lib/pushcluster';
export const TLS_FOLDER = `${FILES}/tls`;
export const JWT_FOLDER = `${FILES}/jwt`;
export const KEYS_FOLDER = `${FILES}/keys`;

/** Names of the objects of a cluster. */
export function names({ metadata: { name } }: Pick<PushCluster, 'metadata'>) {
  return {
    gateway: `${name}-gateway`,
    logic: `${name}-logic`,
    nats: `${name}-nats`,
    natsPeers: `${name}-nats-peers`,
    natsServer: `${name}-nats-server`,
    natsTls: `${name}-nats-tls`,
    natsGateway: `${name}-nats-gateway`,
    natsLogic: `${name}-nats-logic`,
    settings: `${name}-settings`,
    apiKey: `${name}-api-key`,
    metrics: `${name}-metrics`,
    alerts: `${name}-alerts`,
    /** Prefix: the name of each dashboard follows. */
    dashboard: `${name}-dashboard`,
  } as const;
}

/** Labels that select the pods of one role. They never change, since selectors are immutable. */
export function selectorLabels(cluster: Pick<PushCluster, 'metadata'>, role: Role): Record<string, string> {
  return { [CLUSTER_LABEL]: cluster.metadata.name, 'app.kubernetes.io/component': role };
}

/** Labels that select gateway and logic pods. */
export function scrapedLabels(cluster: Pick<PushCluster, 'metadata'>): Record<string, string> {
  return { [CLUSTER_LABEL]: cluster.metadata.name, 'app.kubernetes.io/name': 'pushcluster' };
}

/** Labels of an object. @param role undefined for an object that belongs to no single role */
export function labels(cluster: Pick<PushCluster, 'metadata'>, role: Component | undefined): Record<string, string> {
  return {
    [CLUSTER_LABEL]: cluster.metadata.name,
    'app.kubernetes.io/name': role === 'nats' ? 'nats' : 'pushcluster',
    'app.kubernetes.io/instance': cluster.metadata.name,
    ...(role === undefined ? {} : { 'app.kubernetes.io/component': role }),
    'app.kubernetes.io/part-of': 'pushcluster',
    'app.kubernetes.io/managed-by': MANAGED_BY,
  };
}
