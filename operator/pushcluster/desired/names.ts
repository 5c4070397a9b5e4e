import { GROUP, type PushCluster } from '../../api/pushCluster.ts';

/** What a pod is. */
export type Role = 'gateway' | 'logic' | 'nats';

/** What an object is made for: a role, or whoever watches the cluster. */
export type Component = Role | 'metrics' | 'alerts' | 'dashboards';

/** Who manages what it makes. */
const MANAGED_BY = 'pushcluster-operator';

/** Label with the name of the cluster that an object is made for. */
export const CLUSTER_LABEL = `${GROUP}/cluster`;
/** Pod label in the gateway Service's selector: a pod without it gets no new connections. */
export const SERVING_LABEL = `${GROUP}/serving`;
/** Pod annotation that asks a gateway to drain; the pod reads it from DRAIN_FILE. Without it, or empty: it serves. */
export const DRAIN_ANNOTATION = `${GROUP}/drain`;
/** Pod template annotation: hash of the settings that take effect only at a start. */
export const STATIC_SETTINGS_ANNOTATION = `${GROUP}/static-settings`;
/** Pod annotation: hash of the live settings. A changed one makes the kubelet bring the ConfigMap up to date at once. */
export const SETTINGS_ANNOTATION = `${GROUP}/settings`;

export const GATEWAY_PORT = 7_777;
export const LOGIC_PORT = 7_799;
export const ADMIN_PORT = 9_090;
export const NATS_PORT = 4_222;
export const NATS_ROUTES_PORT = 6_222;
export const NATS_MONITOR_PORT = 8_222;

const FILES = '/etc/pushcluster';
export const SETTINGS_FOLDER = `${FILES}/settings`;
export const SETTINGS_FILE = `${SETTINGS_FOLDER}/settings.yaml`;
export const POD_FOLDER = `${FILES}/pod`;
/** Holds the value of DRAIN_ANNOTATION. */
export const DRAIN_FILE = `${POD_FOLDER}/drain`;
export const NATS_FOLDER = `${FILES}/nats`;
export const TLS_FOLDER = `${FILES}/tls`;
export const JWT_FOLDER = `${FILES}/jwt`;
export const KEYS_FOLDER = `${FILES}/keys`;

/** Names of all that is made for `cluster`. */
export function names({ metadata: { name } }: Pick<PushCluster, 'metadata'>) {
  return {
    gateway: `${name}-gateway`,
    logic: `${name}-logic`,
    nats: `${name}-nats`,
    natsPeers: `${name}-nats-peers`,
    natsServer: `${name}-nats-server`,
    natsGateway: `${name}-nats-gateway`,
    natsLogic: `${name}-nats-logic`,
    settings: `${name}-settings`,
    apiKey: `${name}-api-key`,
    metrics: `${name}-metrics`,
    alerts: `${name}-alerts`,
    /** Each has its own name after it. */
    dashboard: `${name}-dashboard`,
  } as const;
}

/** Labels that tell the pods of one role from all others: selectors, which never change. */
export function selectorLabels(cluster: Pick<PushCluster, 'metadata'>, role: Role): Record<string, string> {
  return { [CLUSTER_LABEL]: cluster.metadata.name, 'app.kubernetes.io/component': role };
}

/** Labels of gateway and logic pods alike, and of no others. */
export function scrapedLabels(cluster: Pick<PushCluster, 'metadata'>): Record<string, string> {
  return { [CLUSTER_LABEL]: cluster.metadata.name, 'app.kubernetes.io/name': 'pushcluster' };
}

/** Labels of what is made for a role; of what is made for the whole cluster, where there is none. */
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
