/** The API as clients see it: its name, its metrics, and the documents by which they find it. */

export const METRICS_GROUP = 'custom.metrics.k8s.io';
/** The only one: Kubernetes' HPA controller takes the version that discovery prefers. */
export const METRICS_VERSION = 'v1beta2';
export const METRICS_API_VERSION = `${METRICS_GROUP}/${METRICS_VERSION}`;
/** Of the APIService that the chart makes. */
export const API_SERVICE = `${METRICS_VERSION}.${METRICS_GROUP}`;
/** Names of what it needs in the operator's own namespace. There is one such API in a cluster, and so one of each. */
export const METRICS_API_SERVICE = 'pushcluster-metrics-api';
export const METRICS_API_SECRET = 'pushcluster-metrics-api';

/** Metrics of gateway pods; names as HPAs have them. */
export const CONNECTIONS_METRIC = 'pushcluster_gateway_connections';
export const BYTES_METRIC = 'pushcluster_gateway_bytes_per_second';
export const METRICS = [CONNECTIONS_METRIC, BYTES_METRIC] as const;
export type MetricName = (typeof METRICS)[number];

/** One value of one pod. */
export type Value = {
  pod: string;
  namespace: string;
  metric: MetricName;
  value: number;
  /** Milliseconds since 1970. */
  at: number;
  /** What a rate was taken over. */
  windowSeconds?: number;
};

const GROUP_VERSION = { groupVersion: METRICS_API_VERSION, version: METRICS_VERSION };
const GROUP = {
  name: METRICS_GROUP,
  versions: [GROUP_VERSION],
  preferredVersion: GROUP_VERSION,
};

const resources = METRICS.map((metric) => ({
  name: `pods/${metric}`,
  singularName: '',
  namespaced: true,
  kind: 'MetricValueList',
  verbs: ['get'],
}));

const VALUES_PATH = `/apis/${METRICS_API_VERSION}/namespaces/{namespace}/pods/{name}/{metric}`;
const parameter = (name: string, place: 'path' | 'query', description: string) => ({
  ...{ name, in: place, description, required: place === 'path' },
  schema: { type: 'string' },
});

/** Documents by path. They say the same to everybody. */
export const DOCUMENTS: ReadonlyMap<string, object> = new Map<string, object>([
  ['/apis', { kind: 'APIGroupList', apiVersion: 'v1', groups: [GROUP] }],
  [`/apis/${METRICS_GROUP}`, { kind: 'APIGroup', apiVersion: 'v1', ...GROUP }],
  [
    `/apis/${METRICS_API_VERSION}`,
    { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: METRICS_API_VERSION, resources },
  ],
  // The API server merges it into its own: it has nothing to add there, and complains where there is none.
  ['/openapi/v2', { swagger: '2.0', info: { title: METRICS_GROUP, version: METRICS_VERSION }, paths: {} }],
  [
    '/openapi/v3',
    { paths: { [`apis/${METRICS_API_VERSION}`]: { serverRelativeURL: `/openapi/v3/apis/${METRICS_API_VERSION}` } } },
  ],
  [
    `/openapi/v3/apis/${METRICS_API_VERSION}`,
    {
      openapi: '3.0.0',
      info: { title: METRICS_GROUP, version: METRICS_VERSION },
      paths: {
        [VALUES_PATH]: {
          get: {
            description: 'Values of a metric, one for each pod that has one at most 20 s old.',
            operationId: 'listPodMetricValues',
            parameters: [
              parameter('namespace', 'path', 'Of the pods.'),
              parameter('name', 'path', 'Of a pod, or * for those that labelSelector selects.'),
              parameter('metric', 'path', METRICS.join(' or ')),
              parameter('labelSelector', 'query', 'Which pods.'),
              parameter('metricLabelSelector', 'query', 'By labels of the metric: it has none.'),
            ],
            responses: { '200': { description: 'A MetricValueList.' } },
          },
        },
      },
    },
  ],
]);

/** What is asked for under a path. */
export type Asked =
  | { what: 'document'; document: object }
  | { what: 'health' }
  /** `name` is `*` for all pods. */
  | { what: 'values'; namespace: string; name: string; metric: string }
  | { what: 'nothing' };

const HEALTH_PATHS = ['/healthz', '/livez', '/readyz'];

/** @param path without its query */
export function askedFor(path: string): Asked {
  if (HEALTH_PATHS.includes(path)) return { what: 'health' };
  const document = DOCUMENTS.get(path === '/' ? path : path.replace(/\/$/, ''));
  if (document) return { what: 'document', document };
  const prefix = `/apis/${METRICS_API_VERSION}/namespaces/`;
  if (!path.startsWith(prefix)) return { what: 'nothing' };
  const parts = decoded(path.slice(prefix.length).split('/'));
  if (parts?.length !== 4 || parts[1] !== 'pods') return { what: 'nothing' };
  const [namespace = '', , name = '', metric = ''] = parts;
  return namespace && name && metric ? { what: 'values', namespace, name, metric } : { what: 'nothing' };
}

export function isMetric(name: string): name is MetricName {
  return METRICS.some((metric) => metric === name);
}

/** The list that answers for values. Rates are whole numbers: nobody scales by half a byte. */
export function valueList(values: readonly Value[]): object {
  return {
    kind: 'MetricValueList',
    apiVersion: METRICS_API_VERSION,
    metadata: {},
    items: values.map(({ pod, namespace, metric, value, at, windowSeconds }) => ({
      describedObject: { kind: 'Pod', namespace, name: pod, apiVersion: '/v1' },
      metric: { name: metric, selector: null },
      timestamp: new Date(at).toISOString().replace(/\.\d+Z$/, 'Z'),
      ...(windowSeconds === undefined ? {} : { windowSeconds }),
      value: String(Math.round(value)),
    })),
  };
}

/** Why a request is refused, as the API says it. */
export type Refusal = { code: number; reason: string; message: string };

export function statusOf({ code, reason, message }: Refusal): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

function decoded(parts: string[]): string[] | undefined {
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return undefined;
  }
}
