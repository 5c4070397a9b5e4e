import type { Pod } from './live.ts';

/** `placement` with as many gateways on each node, as far as their number allows. Cordoned nodes don't count. */
export const evenly = {
  topologySpreadConstraints: [
    {
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'DoNotSchedule',
      nodeTaintsPolicy: 'Honor',
      matchLabelKeys: ['pod-template-hash'],
    },
  ],
};

/** The pods of the node with the fewest of them, and all others. */
export function leastUsedNode(pods: readonly Pod[]): { node: string; leaving: Pod[]; staying: Pod[] } {
  const byNode = Map.groupBy(pods, ({ node }) => node);
  const [fewest] = [...byNode].sort(([, one], [, other]) => one.length - other.length);
  if (fewest === undefined || byNode.size < 2) throw new Error('all pods are on one node');
  const [node, leaving] = fewest;
  return { node, leaving, staying: pods.filter((pod) => pod.node !== node) };
}
