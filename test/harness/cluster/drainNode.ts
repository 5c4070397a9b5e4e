import assert from 'node:assert/strict';
import type { OpenCluster } from './openCluster.ts';
import { pasteFor } from './pasted.ts';

/**
 * Drains a node as a person does, and returns what kubectl says once the node is empty of what was to go. Asserts that kubectl
 * succeeds. The node stays cordoned.
 * @param within milliseconds that kubectl may take
 * @param more further arguments of kubectl
 */
export async function drainNode(
  cluster: OpenCluster,
  node: string,
  within: number,
  ...more: string[]
): Promise<string> {
  const args = ['--ignore-daemonsets', '--delete-emptydir-data', `--timeout=${within / 1_000}s`, ...more];
  const { code, output } = await pasteFor(cluster, `kubectl drain ${node} ${args.join(' ')}`, within + 10_000);
  assert.equal(code, 0, output);
  return output;
}
