import { isIPv6 } from 'node:net';

/**
 * The families that a cluster's nodes, pods and Services can have: one, by Kubernetes' name, or both, of which IPv4 is the
 * primary one.
 */
export const FAMILIES = ['IPv4', 'IPv6', 'DualStack'] as const;

/** Addresses of a cluster, of one family. All are private (RFC 1918, RFC 4193): nothing leaves this machine. */
export type AddressPlan = {
  family: 'IPv4' | 'IPv6';
  /** Those of the other family, in a cluster with both. */
  second?: AddressPlan;
  /** All addresses, to listen on. */
  any: string;
  /** The destination of a default route. */
  everywhere: string;
  /** Of the host outside the nodes: the control plane and the clients. */
  outside: string;
  node: (index: number) => string;
  /** Length of the prefix that nodes and `outside` share. */
  nodePrefix: number;
  /** All pods; those of a node have a part of it. */
  pods: string;
  podsOf: (index: number) => string;
  services: string;
  /** The first address of `services`: the API server's Service. */
  apiService: string;
  dns: string;
  /** Services of type LoadBalancer, to which loadBalancer.ts gives addresses. */
  balanced: string;
  balancedService: (index: number) => string;
};

const PLANS: Readonly<Record<AddressPlan['family'], AddressPlan>> = {
  IPv4: {
    family: 'IPv4',
    any: '0.0.0.0',
    everywhere: '0.0.0.0/0',
    outside: '10.88.0.1',
    node: (index) => `10.88.0.${11 + index}`,
    nodePrefix: 24,
    pods: '10.89.0.0/16',
    podsOf: (index) => `10.89.${1 + index}.0/24`,
    services: '10.96.0.0/16',
    apiService: '10.96.0.1',
    dns: '10.96.0.10',
    balanced: '10.90.0.0/24',
    balancedService: (index) => `10.90.0.${1 + index}`,
  },
  IPv6: {
    family: 'IPv6',
    any: '::',
    everywhere: '::/0',
    outside: 'fd00:88::1',
    node: (index) => `fd00:88::${11 + index}`,
    nodePrefix: 64,
    pods: 'fd00:89::/48',
    podsOf: (index) => `fd00:89:0:${1 + index}::/64`,
    services: 'fd00:96::/112',
    apiService: 'fd00:96::1',
    dns: 'fd00:96::a',
    balanced: 'fd00:90::/112',
    balancedService: (index) => `fd00:90::${(1 + index).toString(16)}`,
  },
};

/** @param family IPv4 by default. Throws if it is none. */
export function addressPlan(family: string = 'IPv4'): AddressPlan {
  const known = FAMILIES.find((each) => each === family);
  if (known === undefined) throw new Error(`"${family}" is not a family of addresses: ${FAMILIES.join(' or ')}`);
  if (known !== 'DualStack') return PLANS[known];
  return { ...PLANS.IPv4, any: PLANS.IPv6.any, second: PLANS.IPv6 };
}

/** The plans of all families of a cluster, the primary one first. */
export function familiesOf(plan: AddressPlan): AddressPlan[] {
  return plan.second ? [plan, plan.second] : [plan];
}

/** One address or range of each family, separated by commas as Kubernetes takes them. */
export function joined(plan: AddressPlan, of: (plan: AddressPlan) => string): string {
  return familiesOf(plan).map(of).join(',');
}

/** An address as URLs have it: IPv6 in brackets. */
export function inUrl(address: string): string {
  return isIPv6(address) ? `[${address}]` : address;
}
