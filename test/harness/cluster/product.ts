import type { Helm } from './helm.ts';
import { apply, type Kubectl } from './kubectl.ts';

export const CHART = new URL('../../../charts/pushcluster', import.meta.url).pathname;
/** Where the chart is installed. */
export const RELEASE = { name: 'pushcluster', namespace: 'pushcluster-system', operator: 'pushcluster-operator' };
/** What its pods run, as scripts/images.sh knows them. */
export const IMAGES = ['operator', 'node-tuning', 'gateway', 'logic', 'nats'];
/** The same content under another tag, to roll out. */
export const OTHER_TAG = '0.1.0-next';

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
