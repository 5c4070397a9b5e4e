import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Host } from './host.ts';

/** Prefix of the machines' own network: .1 is outside the nodes, where the control plane and clients are. */
const MACHINES = '10.88.0';
/** Prefix of the pods' networks, one for each node. */
const PODS = '10.89';
export const POD_RANGE = `${PODS}.0.0/16`;
export const OUTSIDE_ADDRESS = `${MACHINES}.1`;

/** Addresses of Services of type LoadBalancer: loadBalancer.ts gives them. */
const BALANCED_RANGE = '10.90.0.0/24';

export const nodeAddress = (index: number) => `${MACHINES}.${11 + index}`;
export const podRange = (index: number) => `${PODS}.${1 + index}.0/24`;

/**
 * Joins nodes to a bridge on the host `outside`, which none of their packets leaves: each reaches the others, their pods,
 * and, from outside, also Services by way of the first node.
 */
export async function joinNetwork(outside: Host, nodes: readonly Host[], serviceRange: string): Promise<void> {
  await ip(outside, [
    'link add nodes type bridge',
    `addr add ${OUTSIDE_ADDRESS}/24 dev nodes`,
    'link set nodes up',
    ...nodes.flatMap(({ name, pid }) => [
      `link add ${name} type veth peer name eth0 netns ${pid}`,
      `link set ${name} master nodes up`,
    ]),
    ...nodes.map((_, index) => `route add ${podRange(index)} via ${nodeAddress(index)}`),
    `route add ${serviceRange} via ${nodeAddress(0)}`,
    `route add ${BALANCED_RANGE} via ${nodeAddress(0)}`,
  ]);
  await Promise.all(
    nodes.map((node, index) =>
      ip(node, [
        `addr add ${nodeAddress(index)}/24 dev eth0`,
        'link set eth0 up',
        `route add default via ${OUTSIDE_ADDRESS}`,
        ...nodes.flatMap((_, other) =>
          other === index ? [] : [`route add ${podRange(other)} via ${nodeAddress(other)}`],
        ),
      ]),
    ),
  );
}

/** Of the host's namespaces only the network's is entered: process ids are this machine's. */
async function ip(host: Host, lines: readonly string[]): Promise<void> {
  const enter = promisify(execFile)('nsenter', [`--net=/proc/${host.pid}/ns/net`, 'ip', '-batch', '-']);
  enter.child.stdin?.end(`${lines.join('\n')}\n`);
  await enter;
}
