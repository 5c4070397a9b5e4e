import { z } from 'zod';
import { API_VERSION, KIND, PLURAL } from '../api/pushCluster.ts';

const text = z.string().exactOptional();
const texts = z.record(z.string(), z.string()).exactOptional();

/** The owner of an object: the garbage collector deletes the object after it. */
const OwnerReference = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  name: z.string(),
  uid: z.string(),
  controller: z.boolean().exactOptional(),
  blockOwnerDeletion: z.boolean().exactOptional(),
});

/** Metadata of an object. Other fields are kept as they are. */
export const Metadata = z.looseObject({
  name: z.string(),
  namespace: text,
  uid: text,
  resourceVersion: text,
  generation: z.number().exactOptional(),
  creationTimestamp: text,
  deletionTimestamp: text,
  labels: texts,
  annotations: texts,
  ownerReferences: z.array(OwnerReference).exactOptional(),
});
export type Metadata = z.infer<typeof Metadata>;

/** Any object of the API as JSON: no field is dropped, and times are strings. */
export type KubeObject = { apiVersion: string; kind: string; metadata: Metadata };

/** A reference to an object. A whole object is one too. */
export type Ref = { apiVersion: string; kind: string; metadata: { name: string; namespace?: string | undefined } };

/** A kind of objects and its place in the API. */
export type Kind = { apiVersion: string; kind: string; plural: string; namespaced: boolean };

const kind = (apiVersion: string, kind: string, plural: string, namespaced = true): Kind => ({
  apiVersion,
  kind,
  plural,
  namespaced,
});

/** All kinds that the operator reads or writes. */
export const KINDS = {
  pushClusters: kind(API_VERSION, KIND, PLURAL),
  deployments: kind('apps/v1', 'Deployment', 'deployments'),
  replicaSets: kind('apps/v1', 'ReplicaSet', 'replicasets'),
  daemonSets: kind('apps/v1', 'DaemonSet', 'daemonsets'),
  statefulSets: kind('apps/v1', 'StatefulSet', 'statefulsets'),
  pods: kind('v1', 'Pod', 'pods'),
  services: kind('v1', 'Service', 'services'),
  endpointSlices: kind('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices'),
  configMaps: kind('v1', 'ConfigMap', 'configmaps'),
  secrets: kind('v1', 'Secret', 'secrets'),
  serviceAccounts: kind('v1', 'ServiceAccount', 'serviceaccounts'),
  persistentVolumeClaims: kind('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims'),
  namespaces: kind('v1', 'Namespace', 'namespaces', false),
  nodes: kind('v1', 'Node', 'nodes', false),
  storageClasses: kind('storage.k8s.io/v1', 'StorageClass', 'storageclasses', false),
  podDisruptionBudgets: kind('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  networkPolicies: kind('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  horizontalPodAutoscalers: kind('autoscaling/v2', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers'),
  leases: kind('coordination.k8s.io/v1', 'Lease', 'leases'),
  events: kind('events.k8s.io/v1', 'Event', 'events'),
  apiServices: kind('apiregistration.k8s.io/v1', 'APIService', 'apiservices', false),
  scaledObjects: kind('keda.sh/v1alpha1', 'ScaledObject', 'scaledobjects'),
  serviceMonitors: kind('monitoring.coreos.com/v1', 'ServiceMonitor', 'servicemonitors'),
  prometheusRules: kind('monitoring.coreos.com/v1', 'PrometheusRule', 'prometheusrules'),
} satisfies Record<string, Kind>;

const byName = new Map(Object.values(KINDS).map((each) => [`${each.apiVersion}/${each.kind}`, each]));

/** The kind of an object. @throws Error if it is not in KINDS */
export function kindOf({ apiVersion, kind }: { apiVersion: string; kind: string }): Kind {
  const found = byName.get(`${apiVersion}/${kind}`);
  if (!found) throw new Error(`${apiVersion} ${kind} is not a kind that the operator knows: add it to KINDS`);
  return found;
}

/** `namespace/name`, or `name` of an object without a namespace. */
export function keyOf({ metadata: { namespace, name } }: { metadata: Ref['metadata'] }): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** How messages refer to an object: `Deployment live-gateway`. */
export function titleOf({ kind, metadata }: Ref): string {
  return `${kind} ${metadata.name}`;
}

/** The path of the objects of a kind, or with a `name`, of one of them. */
export function pathOf(
  { apiVersion, plural, namespaced }: Kind,
  { namespace, name, subresource }: { namespace?: string | undefined; name?: string; subresource?: string } = {},
): string {
  const parts = [apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`];
  if (namespaced && namespace !== undefined) parts.push('namespaces', encodeURIComponent(namespace));
  parts.push(plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join('/');
}
