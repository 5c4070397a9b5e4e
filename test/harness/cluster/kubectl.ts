import { until } from '../until.ts';
import { runToEnd } from './program.ts';

/** Runs kubectl. Returns its standard output; throws with its standard error. `input` is for `-f -`. */
export type Kubectl = (args: readonly string[], input?: string) => Promise<string>;

/** kubectl as the user of a kubeconfig. */
export function kubectlWith(program: string, kubeconfig: string): Kubectl {
  return (args, input) => runToEnd(program, args, { ...process.env, KUBECONFIG: kubeconfig }, input);
}

/**
 * Waits until objects of a CRD can be made: kubectl learns of their kind once the API server has established it. No
 * `kubectl wait`, which fails for a CRD that has no conditions yet.
 * @param name such as `pushclusters.pushcluster.dev`
 */
export async function established(kubectl: Kubectl, name: string): Promise<void> {
  await until(`kubectl knows ${name}`, () =>
    kubectl(['get', name]).then(
      () => true,
      () => false,
    ),
  );
}

/** Applies objects, given as YAML or as values. */
export async function apply(kubectl: Kubectl, objects: string | readonly object[]): Promise<void> {
  const text =
    typeof objects === 'string' ? objects : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], text);
}
