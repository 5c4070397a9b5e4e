import { stringify } from 'yaml';
import { GROUP, PLURAL } from './api/pushCluster.ts';
import { kindOf } from './kube/objects.ts';
import { API_SERVICE, METRICS_API_SECRET, METRICS_API_SERVICE } from './metricsApi/api.ts';
import { LEASE } from './options.ts';
import { MADE_KINDS } from './pushcluster/desired/desired.ts';

export type PolicyRule = { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] };

/** Rights of the operator in each namespace in which it watches PushClusters: exactly those that it needs. */
export const CLUSTER_RULES: readonly PolicyRule[] = [
  rule(GROUP, PLURAL, ['get', 'list', 'watch']),
  rule(GROUP, `${PLURAL}/status`, ['patch']),
  // The number of gateways, where a manifest leaves it out.
  rule(GROUP, `${PLURAL}/scale`, ['update']),
  ...MADE_KINDS.map((made) =>
    rule(groupOf(made.apiVersion), kindOf(made).plural, ['get', 'list', 'watch', 'create', 'patch', 'delete']),
  ),
  // OpenShift requires it of those who write EndpointSlices with addresses of pods.
  rule('discovery.k8s.io', 'endpointslices/restricted', ['create']),
  // Show which pods of a Deployment have its current template.
  rule('apps', 'replicasets', ['get', 'list', 'watch']),
  // Patched to reload settings, to drain gateways, and to remove them from the Service.
  rule('', 'pods', ['get', 'list', 'watch', 'patch']),
  // Listed to find out why a StatefulSet cannot create a pod, and why a pod waits for a volume.
  rule('events.k8s.io', 'events', ['create', 'patch', 'list']),
];

/** Rights in its own namespace, for leader election. Kubernetes cannot restrict `create` by name. */
export const OWN_RULES: readonly PolicyRule[] = [
  rule('coordination.k8s.io', 'leases', ['create']),
  { ...rule('coordination.k8s.io', 'leases', ['get', 'update']), resourceNames: [LEASE] },
];

/**
 * Cluster-wide rights for the metrics API, if enabled: it publishes its CA. It also needs the role
 * system:auth-delegator.
 */
export const METRICS_API_RULES: readonly PolicyRule[] = [
  {
    ...rule('apiregistration.k8s.io', 'apiservices', ['get', 'list', 'watch', 'patch']),
    resourceNames: [API_SERVICE],
  },
];

/** Rights for the metrics API in its own namespace: the certificates that all replicas serve. */
export const METRICS_API_OWN_RULES: readonly PolicyRule[] = [
  { ...rule('', 'secrets', ['get', 'list', 'watch', 'create', 'patch']), resourceNames: [METRICS_API_SECRET] },
  { ...rule('', 'services', ['get']), resourceNames: [METRICS_API_SERVICE] },
];

/** Files of the chart with these rules, by path from the root of the project. */
export const RULES_FILES: readonly (readonly [file: string, text: string])[] = [
  ['charts/pushcluster/files/watched-rules.yaml', rulesText(CLUSTER_RULES)],
  ['charts/pushcluster/files/own-rules.yaml', rulesText(OWN_RULES)],
  ['charts/pushcluster/files/metrics-api-rules.yaml', rulesText(METRICS_API_RULES)],
  ['charts/pushcluster/files/metrics-api-own-rules.yaml', rulesText(METRICS_API_OWN_RULES)],
];

function rulesText(rules: readonly PolicyRule[]): string {
  return `# Made by \`npm run crd -w @pushcluster/operator\` from operator/rbac.ts.\n${stringify(rules, { lineWidth: 120 })}`;
}

function rule(group: string, resource: string, verbs: string[]): PolicyRule {
  return { apiGroups: [group], resources: [resource], verbs };
}

function groupOf(apiVersion: string): string {
  const [group = '', version] = apiVersion.split('/');
  return version === undefined ? '' : group;
}
