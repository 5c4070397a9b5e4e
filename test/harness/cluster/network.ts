import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type AddressPlan, familiesOf } from './addressPlan.ts';
import type { Host } from './host.ts';

/**
 * Connects nodes to a bridge on the host `outside`. Packets never leave this bridge. Each node reaches the other nodes
 * and their pods. `outside` also reaches Services, through the first node.
 */
export async function joinNetwork(outside: Host, nodes: readonly Host[], plan: AddressPlan): Promise<void> {
  const plans = familiesOf(plan);
  await ip(outside, [
    'link add nodes type bridge',
    ...plans.map((each) => assign(each, each.outside, 'nodes')),
    'link set nodes up',
    ...nodes.flatMap(({ name, pid }) => [
      `link add ${name} type veth peer name eth0 netns ${pid}`,
      `link set ${name} master nodes up`,
    ]),
    ...plans.flatMap((each) => [
      ...nodes.map((_, index) => `route add ${each.podsOf(index)} via ${each.node(index)}`),
      `route add ${each.services} via ${each.node(0)}`,
      `route add ${each.balanced} via ${each.node(0)}`,
    ]),
  ]);
  await Promise.all(
    nodes.map((node, index) =>
      ip(node, [
        ...plans.map((each) => assign(each, each.node(index), 'eth0')),
        'link set eth0 up',
        ...plans.flatMap((each) => [
          `route add ${each.everywhere} via ${each.outside}`,
          ...nodes.flatMap((_, other) =>
            other === index ? [] : [`route add ${each.podsOf(other)} via ${each.node(other)}`],
          ),
        ]),
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
