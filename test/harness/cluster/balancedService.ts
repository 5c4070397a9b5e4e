import { z } from 'zod';
import type { HealthCheck } from './healthCheck.ts';

/** Annotations of a Service that loadBalancer.ts obeys. */
const ANNOTATIONS = {
  /** Interval of health checks, milliseconds. */
  interval: 'balancer.test/interval',
  /** Failures in a row after which a node is unhealthy. */
  threshold: 'balancer.test/threshold',
  /** `v2`: each connection to a node begins with a PROXY header of that version, with TLVs. */
  proxyProtocol: 'balancer.test/proxy-protocol',
} as const;

/** Close to the state of kube-proxy, for tests that are not about load balancers. */
const FAST: HealthCheck = { interval: 500, threshold: 1 };

const Service = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string(),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
  spec: z.object({
    type: z.string(),
    externalTrafficPolicy: z.string().optional(),
    healthCheckNodePort: z.number().optional(),
    ports: z.array(z.object({ port: z.number(), nodePort: z.number().default(0), protocol: z.string() })).default([]),
  }),
  status: z.object({
    loadBalancer: z.object({ ingress: z.array(z.object({ ip: z.string().optional() })).optional() }),
  }),
});
export type BalancedService = z.infer<typeof Service>;
export const Services = z.object({ items: z.array(Service) });
export const Nodes = z.object({
  items: z.array(
    z.object({ status: z.object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })) }) }),
  ),
});

/** Annotations that make the load balancer check as slowly as those of clouds, and, if wanted, end connections. */
export function slowly({ interval, threshold }: HealthCheck, proxyProtocol = false): Record<string, string> {
  return {
    [ANNOTATIONS.interval]: String(interval),
    [ANNOTATIONS.threshold]: String(threshold),
    ...(proxyProtocol ? { [ANNOTATIONS.proxyProtocol]: 'v2' } : {}),
  };
}

/**
 * Whether it has health checks as clouds have them. Under the policy Cluster these check the node port, by TCP; fast ones
 * ask kube-proxy.
 */
export function isSlow({ metadata: { annotations } }: BalancedService): boolean {
  return annotations[ANNOTATIONS.interval] !== undefined;
}

export function healthCheckOf({ metadata: { annotations } }: BalancedService): HealthCheck {
  const { interval, threshold } = FAST;
  return {
    interval: Number(annotations[ANNOTATIONS.interval] ?? interval),
    threshold: Number(annotations[ANNOTATIONS.threshold] ?? threshold),
  };
}

export function sendsProxyHeader({ metadata: { annotations } }: BalancedService): boolean {
  return annotations[ANNOTATIONS.proxyProtocol] === 'v2';
}
