/** The custom metrics API as clients see it: its group, its metrics and its discovery documents. */

export const METRICS_GROUP = 'custom.metrics.k8s.io';
/** The only version. The HPA controller uses the preferred version of the discovery. */
export const METRICS_VERSION = 'v1beta2';
export const METRICS_API_VERSION = `${METRICS_GROUP}/${METRICS_VERSION}`;
/** Name of the APIService, which the chart creates. */
export const API_SERVICE = `${METRICS_VERSION}.${METRICS_GROUP}`;
/** Names of its Service and Secret in the operator's namespace. There is only one such API in a cluster. */
export const METRICS_API_SERVICE = 'pushcluster-metrics-api';
export const METRICS_API_SECRET = 'pushcluster-metrics-api';

/** Names of the metrics of gateway pods, as HPAs refer to them. */
export const CONNECTIONS_METRIC = 'pushcluster_gateway_connections';
export const BYTES_METRIC = 'pushcluster_gateway_bytes_per_second';
export const METRICS = [CONNECTIONS_METRIC, BYTES_METRIC] as const;
export type MetricName = (typeof METRICS)[number];

/** The value of a metric of one pod. */
export type Value = {
  pod: string;
  namespace: string;
  metric: MetricName;
  value: number;
  /** Milliseconds since 1970. */
  at: number;
  /** Period of a rate. */
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

/** Discovery documents by path. */
export const DOCUMENTS: ReadonlyMap<string, object> = new Map<string, object>([
  ['/apis', { kind: 'APIGroupList', apiVersion: 'v1', groups: [GROUP] }],
  [`/apis/${METRICS_GROUP}`, { kind: 'APIGroup', apiVersion: 'v1', ...GROUP }],
  [
    `/apis/${METRICS_API_VERSION}`,
    { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: METRICS_API_VERSION, resources },
  ],
  // The API server merges it into its own document and logs errors if it is missing. There is nothing to add.
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
            description: 'Values of a metric, one for each pod with a value that is at most 20 s old.',
            operationId: 'listPodMetricValues',
            parameters: [
              parameter('namespace', 'path', 'Namespace of the pods.'),
              parameter('name', 'path', 'Name of a pod, or * for all pods that labelSelector selects.'),
              parameter('metric', 'path', METRICS.join(' or ')),
              parameter('labelSelector', 'query', 'Selects pods by their labels.'),
              parameter('metricLabelSelector', 'query', 'Selects by labels of the metric. The metrics have none.'),
            ],
            responses: { '200': { description: 'A MetricValueList.' } },
          },
        },
      },
    },
  ],
]);

/** What a path refers to. */
export type Asked =
  | { what: 'document'; document: object }
  | { what: 'health' }
  /** `name` may be `*`: all pods. */
  | { what: 'values'; namespace: string; name: string; metric: string }
  | { what: 'nothing' };

const HEALTH_PATHS = ['/healthz', '/livez', '/readyz'];

/** @param path without query */
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

/** The MetricValueList of values, which are rounded to integers. */
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

/** Why a request failed, for a Status object of Kubernetes. */
export type RequestFailure = { code: number; reason: string; message: string };

export function statusOf({ code, reason, message }: RequestFailure): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

function decoded(parts: string[]): string[] | undefined {
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return undefined;
  }
}
