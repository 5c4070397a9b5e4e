import { canonicalOriginPattern, matchesOrigin } from '@pushcluster/protocol/origins.ts';
import type { PushCluster } from '../api/pushCluster.ts';

type Spec = PushCluster['spec'];

/** An origin that nobody has: a pattern that matches it matches those of strangers. */
const STRANGER = 'https://pushcluster.invalid';
/** A range of addresses in which everybody is. */
const ALL_ADDRESSES = /\/0+$/;

/**
 * What to tell people whose gateways anyone may connect to from outside the Kubernetes cluster, without a token and from web
 * pages of every origin; undefined if that is not so. An Ingress in front of the Service is not visible here, nor is
 * whether a load balancer is internal.
 */
export function exposure({ spec }: PushCluster): string | undefined {
  const { auth, gateway } = spec;
  const place = reachedAt(gateway);
  const isAnonymous = auth.jwt === undefined || auth.anonymous === true;
  if (place === undefined || !isAnonymous || !admitsStrangers(auth)) return undefined;
  const change = auth.jwt ? 'auth.anonymous to false' : 'auth.jwt';
  const encryption = gateway.service.tls
    ? ''
    : '; gateways do not encrypt connections, so terminate TLS in front of them or set gateway.service.tls';
  return `anyone who reaches ${place} may connect, without a token and from every web page: if that is not intended, set ${change} and auth.allowedOrigins${encryption}`;
}

/** Where gateways are reached from outside. */
function reachedAt({ service, hostNetwork }: Spec['gateway']): string | undefined {
  const ranges = service.loadBalancerSourceRanges ?? [];
  const isLimited = ranges.length > 0 && !ranges.some((range) => ALL_ADDRESSES.test(range));
  if (service.type === 'LoadBalancer' && !isLimited) return 'the load balancer (gateway.service.type)';
  if ((service.externalIPs ?? []).length > 0) return 'gateway.service.externalIPs';
  if (service.type === 'NodePort') return 'a node (gateway.service.type)';
  return hostNetwork ? 'a node (gateway.hostNetwork)' : undefined;
}

function admitsStrangers({ allowedOrigins }: Spec['auth']): boolean {
  return allowedOrigins.length === 0 || allowedOrigins.some(admitsStranger);
}

function admitsStranger(pattern: string): boolean {
  try {
    return matchesOrigin(canonicalOriginPattern(pattern), STRANGER);
  } catch (error) {
    // Gateways refuse settings with this pattern.
    if (error instanceof RangeError) return false;
    throw error;
  }
}
