import { GROUP } from '../../api/pushCluster.ts';
import { digest } from '../../kube/digest.ts';
import type { DesiredObject } from './context.ts';

/** Annotation of a Deployment or StatefulSet: hash of the pod template that the operator applied. */
export const POD_TEMPLATE_ANNOTATION = `${GROUP}/pod-template`;

/** `object` with the hash of its pod template as an annotation, if it has one. */
export function withPodTemplateHash<T extends DesiredObject>(object: T): T {
  const template = 'spec' in object && isRecord(object.spec) ? object.spec.template : undefined;
  if (template === undefined) return object;
  const annotations = { ...object.metadata.annotations, [POD_TEMPLATE_ANNOTATION]: digest(template).slice(0, 16) };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

/**
 * Whether applying `desired` may start a rollout. True if what is observed was applied by an older version, which left no
 * hash.
 */
export function mayRollOut(
  desired: { metadata: { annotations?: Readonly<Record<string, string>> | undefined } },
  observed: { metadata: { annotations?: Readonly<Record<string, string>> | undefined } } | undefined,
): boolean {
  const wanted = desired.metadata.annotations?.[POD_TEMPLATE_ANNOTATION];
  if (wanted === undefined || observed === undefined) return false;
  return observed.metadata.annotations?.[POD_TEMPLATE_ANNOTATION] !== wanted;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
