import { z } from 'zod';
import type { Helm } from './helm.ts';
import { apply, type Kubectl } from './kubectl.ts';

const Namespace = z.object({
  metadata: z.object({
    labels: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().optional(),
  }),
});

export const CHART = new URL('../../../charts/pushcluster', import.meta.url).pathname;
/** The registry in the names of images, as scripts/images.sh builds them. Nothing is pulled from there. */
export const REGISTRY = 'docker.io';
/** Release name and namespace of the chart, and name of the operator. */
export const RELEASE = { name: 'pushcluster', namespace: 'pushcluster-system', operator: 'pushcluster-operator' };
/** Images of the product's pods, by the names of scripts/images.sh. */
export const IMAGES = ['operator', 'node-tuning', 'gateway', 'logic', 'nats'];
/** A second tag with the same content, for rollouts. */
export const OTHER_TAG = '0.1.0-next';

/** The tag of the baseline's images, which only nightly tests have. */
export const BASELINE_TAG = '0.0.0-baseline';

/** Label of namespaces that tests created and may delete. */
const OURS = 'e2e.pushcluster.dev/test';

/**
 * Creates a test's namespace, which admits only pods of a Pod Security level. Throws if a namespace of this name exists
 * that no test created, because tests delete their namespaces.
 */
export async function claimNamespace(
  kubectl: Kubectl,
  name: string,
  level: 'restricted' | 'privileged' = 'restricted',
): Promise<void> {
  const found = await kubectl(['get', 'namespace', name, '--ignore-not-found', '-o', 'json']);
  if (found !== '') {
    const { labels, deletionTimestamp } = Namespace.parse(JSON.parse(found)).metadata;
    if (!labels[OURS])
      throw new Error(
        `namespace ${name} is somebody else's: tests would delete it. Use a cluster that nobody works on`,
      );
    // The namespace of an earlier run is being deleted.
    if (deletionTimestamp) await kubectl(['wait', `namespace/${name}`, '--for=delete', '--timeout=5m']);
  }
  const labels = { 'pod-security.kubernetes.io/enforce': level, [OURS]: 'true' };
  await apply(kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
}

/** A namespace that admits only pods of the Pod Security level `restricted`. */
export function restrictedNamespace(name: string): object {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** Installs the chart, or upgrades it to these values; resolves when the operator's pods are ready. */
export async function installChart(
  kubectl: Kubectl,
  helm: Helm,
  values: { images?: object; [value: string]: unknown } = {},
): Promise<void> {
  const { name, namespace } = RELEASE;
  await apply(kubectl, [restrictedNamespace(namespace)]);
  await helm(
    ['upgrade', '--install', name, CHART, '-n', namespace, '--reset-values', '--wait', '--timeout=5m', '-f', '-'],
    JSON.stringify({ ...values, images: { registry: REGISTRY, ...values.images } }),
  );
}
