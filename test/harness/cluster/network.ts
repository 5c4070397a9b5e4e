import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { AddressPlan } from './addressPlan.ts';
import type { Host } from './host.ts';

/**
 * Connects nodes to a bridge on the host `outside`. Packets never leave this bridge. Each node reaches the other nodes
 * and their pods. `outside` also reaches Services, through the first node.
 */
export async function joinNetwork(outside: Host, nodes: readonly Host[], plan: AddressPlan): Promise<void> {
  await ip(outside, [
    'link add nodes type bridge',
    assign(plan, plan.outside, 'nodes'),
    'link set nodes up',
    ...nodes.flatMap(({ name, pid }) => [
      `link add ${name} type veth peer name eth0 netns ${pid}`,
      `link set ${name} master nodes up`,
    ]),
    ...nodes.map((_, index) => `route add ${plan.podsOf(index)} via ${plan.node(index)}`),
    `route add ${plan.services} via ${plan.node(0)}`,
    `route add ${plan.balanced} via ${plan.node(0)}`,
  ]);
  await Promise.all(
    nodes.map((node, index) =>
      ip(node, [
        assign(plan, plan.node(index), 'eth0'),
        'link set eth0 up',
        `route add ${plan.everywhere} via ${plan.outside}`,
        ...nodes.flatMap((_, other) =>
          other === index ? [] : [`route add ${plan.podsOf(other)} via ${plan.node(other)}`],
        ),
      ]),
    ),
  );
}

/** Without duplicate address detection, an IPv6 address can be used at once. */
function assign({ family, nodePrefix }: AddressPlan, address: string, device: string): string {
  return `addr add ${address}/${nodePrefix} dev ${device}${family === 'IPv6' ? ' nodad' : ''}`;
}

/** Enters only the host's network namespace, so that process ids are those of this machine. */
async function ip(host: Host, lines: readonly string[]): Promise<void> {
  const enter = promisify(execFile)('nsenter', [`--net=/proc/${host.pid}/ns/net`, 'ip', '-batch', '-']);
  enter.child.stdin?.end(`${lines.join('\n')}\n`);
  await enter;
}
