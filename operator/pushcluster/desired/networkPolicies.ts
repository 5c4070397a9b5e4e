import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  ADMIN_PORT,
  GATEWAY_PORT,
  LOGIC_PORT,
  NATS_EXPORTER_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  names,
  type Role,
  scrapedLabels,
  selectorLabels,
} from './names.ts';
import type { PodTemplate } from './pods.ts';

/** A NetworkPolicy as JSON. The type of the client library has `_from` instead of `from`. */
type NetworkPolicy = DesiredObject & {
  spec: { podSelector: PodSelector; policyTypes: ['Ingress']; ingress: Ingress[] };
};
type PodSelector = { matchLabels: Record<string, string> };
type Port = { port: number; protocol: string };
type Ingress = { ports: Port[]; from?: { podSelector: PodSelector }[] };

/**
 * Ingress policies: the ports of gateways and logic are open, since they authenticate their clients; the ports of
 * managed NATS are open to pods of the cluster only, but for that of its metrics. Ports that containers of a pod template declare are open. Egress is
 * left to the policies of the namespace.
 */
export function networkPolicies(cluster: PushCluster): NetworkPolicy[] {
  const { gateway, logic } = cluster.spec;
  const policies = [
    policy(cluster, 'gateway', [open(GATEWAY_PORT, ADMIN_PORT), ...declared(gateway.podTemplate)]),
    policy(cluster, 'logic', [open(LOGIC_PORT, ADMIN_PORT), ...declared(logic.podTemplate)]),
  ];
  const nats = managedNats(cluster);
  if (nats === undefined) return policies;
  // With hostNetwork, pods have the address of their node, which a policy cannot select.
  const clients = gateway.hostNetwork ? open(NATS_PORT) : from(scrapedLabels(cluster), NATS_PORT);
  const routes = from(selectorLabels(cluster, 'nats'), NATS_ROUTES_PORT);
  const metrics = nats.exporter?.enabled ? [open(NATS_EXPORTER_PORT)] : [];
  return [...policies, policy(cluster, 'nats', [clients, routes, ...metrics, ...declared(nats.podTemplate)])];
}

/** The ports of the containers that a pod template adds. */
function declared({ spec }: PodTemplate): Ingress[] {
  const { containers = [], initContainers = [] } = spec;
  const ports = [...initContainers, ...containers].flatMap((container) => container.ports ?? []);
  if (ports.length === 0) return [];
  return [{ ports: ports.map(({ containerPort, protocol = 'TCP' }) => ({ port: containerPort, protocol })) }];
}

function policy(cluster: PushCluster, role: Role, ingress: Ingress[]): NetworkPolicy {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadataOf(cluster, names(cluster)[role], role),
    spec: { podSelector: { matchLabels: selectorLabels(cluster, role) }, policyTypes: ['Ingress'], ingress },
  };
}

function open(...ports: number[]): Ingress {
  return { ports: ports.map((port) => ({ port, protocol: 'TCP' })) };
}

function from(matchLabels: Record<string, string>, ...ports: number[]): Ingress {
  return { ...open(...ports), from: [{ podSelector: { matchLabels } }] };
}
