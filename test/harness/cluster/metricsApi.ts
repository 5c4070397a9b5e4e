import { METRICS_API_SERVICE, METRICS_GROUP, METRICS_VERSION } from '@pushcluster/operator/metricsApi/api.ts';
import { METRICS_API_OWN_RULES, METRICS_API_RULES } from '@pushcluster/operator/rbac.ts';

const RBAC = 'rbac.authorization.k8s.io';

/**
 * Objects that register a process on loopback as a metrics API with the API server: the operator's API, or another one.
 */
export function metricsApiRegistration(
  port: number,
  // The operator itself sets the CA of its API.
  { name = METRICS_API_SERVICE, group = METRICS_GROUP, version = METRICS_VERSION, trust = {} } = {},
): object[] {
  const service = { name, namespace: 'default' };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: service,
      spec: { type: 'ExternalName', externalName: 'localhost' },
    },
    {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: `${version}.${group}` },
      spec: {
        ...{ group, version, groupPriorityMinimum: 100, versionPriority: 100 },
        ...trust,
        service: { ...service, port },
      },
    },
  ];
}

/**
 * The rights that the operator declares for serving the metrics API, and Kubernetes' own rights for aggregated APIs.
 */
export function metricsApiRights(user: string): object[] {
  const subjects = [{ kind: 'User', name: user, apiGroup: RBAC }];
  const ref = (kind: string, name: string) => ({ apiGroup: RBAC, kind, name });
  const name = 'metrics-api';
  const binding = (metadata: object, roleRef: object) => ({ metadata, roleRef, subjects });
  return [
    { kind: 'ClusterRole', metadata: { name }, rules: METRICS_API_RULES },
    { kind: 'ClusterRoleBinding', ...binding({ name }, ref('ClusterRole', name)) },
    {
      kind: 'ClusterRoleBinding',
      ...binding({ name: `${name}-delegator` }, ref('ClusterRole', 'system:auth-delegator')),
    },
    {
      kind: 'RoleBinding',
      ...binding({ name, namespace: 'kube-system' }, ref('Role', 'extension-apiserver-authentication-reader')),
    },
    { kind: 'Role', metadata: { name, namespace: 'default' }, rules: METRICS_API_OWN_RULES },
    { kind: 'RoleBinding', ...binding({ name, namespace: 'default' }, ref('Role', name)) },
  ].map((each) => ({ apiVersion: `${RBAC}/v1`, ...each }));
}
