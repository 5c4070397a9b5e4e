import { MAX_HOPS } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';
import { ruled } from '../fields.ts';
import { annotations } from './metadata.ts';

export const GatewayService = ruled(
  z.object({
    type: z
      .enum(['LoadBalancer', 'NodePort', 'ClusterIP'])
      .default('LoadBalancer')
      .describe('Without a load balancer in the cluster, `LoadBalancer` works as `NodePort` and waits for it.'),
    port: z.number().int().min(1).max(65_535).default(7_777).describe('Port of the Service; the pods listen on 7777.'),
    annotations: annotations.default({}).describe('For the load balancer.'),
    externalTrafficPolicy: z
      .enum(['Local', 'Cluster'])
      .default('Local')
      .describe("`Local` keeps clients' addresses and saves a hop. Without meaning for `ClusterIP`."),
    proxyProtocol: z
      .boolean()
      .default(false)
      .describe(
        "Take clients' addresses from the PROXY protocol. Only behind a balancer that always sends it; costs CPU and descriptors.",
      ),
    forwardedHeaders: z
      .boolean()
      .default(false)
      .describe(
        "Take clients' addresses from X-Forwarded-For. Only behind proxies that always add the address that they see.",
      ),
    forwardedHops: z
      .number()
      .int()
      .min(1)
      .max(MAX_HOPS)
      .default(1)
      .describe('How many such proxies there are in a row: so many of the last entries are trusted.'),
    tls: z
      .object({
        secretName: z.string().min(1).max(253).describe('A Secret of type kubernetes.io/tls, in this namespace.'),
      })
      .exactOptional()
      .describe('Gateways speak TLS with this certificate. A renewed one is taken up live.'),
  }),
  {
    rule: '!has(self.forwardedHops) || self.forwardedHops == 1 || (has(self.forwardedHeaders) && self.forwardedHeaders)',
    message: 'gateway.service.forwardedHops is of forwardedHeaders, which is not set',
    fieldPath: '.forwardedHops',
  },
);
