import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Host } from './host.ts';

/** Prefix of the nodes' network. Address .1 is outside the nodes: the control plane and the clients. */
const MACHINES = '10.88.0';
/** Prefix of the pods' networks, one for each node. */
const PODS = '10.89';
export const POD_RANGE = `${PODS}.0.0/16`;
export const OUTSIDE_ADDRESS = `${MACHINES}.1`;

/** Addresses for Services of type LoadBalancer, assigned by loadBalancer.ts. */
const BALANCED_RANGE = '10.90.0.0/24';

export const nodeAddress = (index: number) => `${MACHINES}.${11 + index}`;
export const podRange = (index: number) => `${PODS}.${1 + index}.0/24`;

/**
 * Connects nodes to a bridge on the host `outside`. Packets never leave this bridge. Each node reaches the other nodes
 * and their pods. `outside` also reaches Services, through the first node.
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

/** Enters only the host's network namespace, so that process ids are those of this machine. */
async function ip(host: Host, lines: readonly string[]): Promise<void> {
  const enter = promisify(execFile)('nsenter', [`--net=/proc/${host.pid}/ns/net`, 'ip', '-batch', '-']);
  enter.child.stdin?.end(`${lines.join('\n')}\n`);
  await enter;
}
