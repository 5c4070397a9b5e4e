import type { PushCluster } from '../../api/pushCluster.ts';
import { type Component, labels } from './names.ts';

export type Metadata = {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences: OwnerReference[];
};

type OwnerReference = {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller: true;
  blockOwnerDeletion: false;
};

/**
 * Metadata of an object made for a cluster.
 * @param role undefined for an object that belongs to no single role
 * @param own labels and annotations of this object
 */
export function metadataOf(
  cluster: PushCluster,
  name: string,
  role: Component | undefined,
  own: Partial<Pick<Metadata, 'labels' | 'annotations'>> = {},
): Metadata {
  const inherited = cluster.spec.inheritedMetadata;
  const annotations = { ...inherited.annotations, ...own.annotations };
  return {
    name,
    namespace: cluster.metadata.namespace,
    labels: { ...inherited.labels, ...own.labels, ...labels(cluster, role) },
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    ownerReferences: [ownerReference(cluster)],
  };
}

/** The cluster as owner: the garbage collector deletes its objects with it. */
function ownerReference({ apiVersion, kind, metadata }: PushCluster): OwnerReference {
  const { name, uid } = metadata;
  return { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: false };
}
