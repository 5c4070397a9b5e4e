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
/** Where the chart is installed. */
export const RELEASE = { name: 'pushcluster', namespace: 'pushcluster-system', operator: 'pushcluster-operator' };
/** What its pods run, as scripts/images.sh knows them. */
export const IMAGES = ['operator', 'node-tuning', 'gateway', 'logic', 'nats'];
/** The same content under another tag, to roll out. */
export const OTHER_TAG = '0.1.0-next';

/** Set on namespaces that tests made, and may delete. */
const OURS = 'e2e.pushcluster.dev/test';

/**
 * Makes a test's namespace, which admits only pods of a Pod Security level. Throws where there is one of that name that no test
 * made: tests delete theirs.
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
    // A former run's, on its way out.
    if (deletionTimestamp) await kubectl(['wait', `namespace/${name}`, '--for=delete', '--timeout=2m']);
  }
  const labels = { 'pod-security.kubernetes.io/enforce': level, [OURS]: 'true' };
  await apply(kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
}

/** A namespace that admits only pods of the Pod Security level `restricted`. */
export function restrictedNamespace(name: string): object {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** Installs the chart, or brings it to these values; the operator's pods are ready then. */
export async function installChart(kubectl: Kubectl, helm: Helm, values: object = {}): Promise<void> {
  const { name, namespace } = RELEASE;
  await apply(kubectl, [restrictedNamespace(namespace)]);
  await helm(
    ['upgrade', '--install', name, CHART, '-n', namespace, '--reset-values', '--wait', '--timeout=2m', '-f', '-'],
    JSON.stringify(values),
  );
}
