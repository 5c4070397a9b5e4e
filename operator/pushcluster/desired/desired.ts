import type { PushCluster } from '../../api/pushCluster.ts';
import { alerts } from './alerts.ts';
import { autoscalers } from './autoscalers.ts';
import { managedNats } from './bus.ts';
import type { Context, DesiredObject } from './context.ts';
import { dashboards } from './dashboards.ts';
import { disruptionBudgets } from './disruptionBudgets.ts';
import { gatewayDeployment } from './gateway.ts';
import { leavingEndpoints } from './leavingEndpoints.ts';
import { logicDeployment } from './logic.ts';
import { natsStatefulSet } from './nats.ts';
import { certificatesSecret, serversTls } from './natsTls.ts';
import { networkPolicies } from './networkPolicies.ts';
import { withPodTemplateHash } from './podTemplateHash.ts';
import { generated, secrets } from './secrets.ts';
import { serviceAccounts } from './serviceAccounts.ts';
import { serviceMonitor } from './serviceMonitor.ts';
import { services } from './services.ts';
import { settingsConfigMap } from './settingsConfigMap.ts';

/**
 * All kinds that `desired` returns. Objects of these kinds that a cluster owns and are no longer desired are deleted.
 */
export const MADE_KINDS = [
  { apiVersion: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts' },
  { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' },
  { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' },
  { apiVersion: 'v1', kind: 'Service', plural: 'services' },
  { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', plural: 'endpointslices' },
  { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', plural: 'networkpolicies' },
  { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', plural: 'poddisruptionbudgets' },
  { apiVersion: 'apps/v1', kind: 'StatefulSet', plural: 'statefulsets' },
  { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  { apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler', plural: 'horizontalpodautoscalers' },
  { apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject', plural: 'scaledobjects' },
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'ServiceMonitor', plural: 'servicemonitors' },
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', plural: 'prometheusrules' },
] as const;

/**
 * All desired objects of a cluster, in the order in which they are applied: those that pods need come before the pods.
 * @throws InvalidSettings
 */
export function desired(cluster: PushCluster, context: Context): DesiredObject[] {
  const tls = serversTls(cluster, context);
  const values = generated(cluster, context, tls);
  const nats = managedNats(cluster);
  const certificates = context.natsTls?.certificates;
  const objects: DesiredObject[] = [
    ...serviceAccounts(cluster),
    ...secrets(cluster, values, tls),
    ...(certificates ? [certificatesSecret(cluster, certificates)] : []),
    settingsConfigMap(cluster),
    ...services(cluster),
    ...leavingEndpoints(cluster, context.leaving),
    ...networkPolicies(cluster),
    ...disruptionBudgets(cluster),
    ...(nats ? [natsStatefulSet(cluster, nats, values, context)] : []),
    gatewayDeployment(cluster, context),
    logicDeployment(cluster, context),
    ...autoscalers(cluster),
    ...(context.serviceMonitors && cluster.spec.monitoring.serviceMonitor ? [serviceMonitor(cluster)] : []),
    ...dashboards(cluster),
    // Even if that kind does not exist: the user asked for alerts, and sees the error in the status.
    ...alerts(cluster, context.runbook),
  ];
  return objects.map(withPodTemplateHash);
}
