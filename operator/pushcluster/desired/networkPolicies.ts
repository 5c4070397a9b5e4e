import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  ADMIN_PORT,
  GATEWAY_PORT,
  LOGIC_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  names,
  type Role,
  scrapedLabels,
  selectorLabels,
} from './names.ts';

/** A NetworkPolicy as it goes over the wire: the client's own type has `_from`. */
type NetworkPolicy = DesiredObject & {
  spec: { podSelector: PodSelector; policyTypes: ['Ingress']; ingress: Ingress[] };
};
type PodSelector = { matchLabels: Record<string, string> };
type Ingress = { ports: { port: number; protocol: 'TCP' }[]; from?: { podSelector: PodSelector }[] };

/**
 * Who may reach which port: anyone those of gateways and logic, which ask for tokens and keys themselves; only pods of
 * the cluster those of its NATS. What pods may reach is left to the namespace's own policies.
 */
export function networkPolicies(cluster: PushCluster): NetworkPolicy[] {
  const policies = [
    policy(cluster, 'gateway', [open(GATEWAY_PORT, ADMIN_PORT)]),
    policy(cluster, 'logic', [open(LOGIC_PORT, ADMIN_PORT)]),
  ];
  if (managedNats(cluster) === undefined) return policies;
  // Pods in the network of their node come with its address, which no policy can name.
  const clients = cluster.spec.gateway.hostNetwork ? open(NATS_PORT) : from(scrapedLabels(cluster), NATS_PORT);
  return [...policies, policy(cluster, 'nats', [clients, from(selectorLabels(cluster, 'nats'), NATS_ROUTES_PORT)])];
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
