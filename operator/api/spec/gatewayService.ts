import { MAX_HOPS } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';
import { ruled } from '../fields.ts';
import { annotations } from './metadata.ts';

export const GatewayService = ruled(
  z.object({
    type: z
      .enum(['LoadBalancer', 'NodePort', 'ClusterIP'])
      .default('LoadBalancer')
      .describe(
        'Type of the Service. In a cluster without a load balancer, `LoadBalancer` works like `NodePort` until there is one.',
      ),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .default(7_777)
      .describe('Port of the Service. The pods always listen on port 7777.'),
    annotations: annotations.default({}).describe('Annotations of the Service, for example for the load balancer.'),
    externalTrafficPolicy: z
      .enum(['Local', 'Cluster'])
      .default('Local')
      .describe(
        "Traffic policy of the Service. `Local` preserves clients' IP addresses and avoids a second hop. Ignored if `type` is `ClusterIP`.",
      ),
    proxyProtocol: z
      .boolean()
      .default(false)
      .describe(
        "Whether gateways read clients' IP addresses from the PROXY protocol. Enable it only behind a load balancer that always sends the protocol. It costs CPU and two more file descriptors for each connection. Changing it rolls out the gateways.",
      ),
    forwardedHeaders: z
      .boolean()
      .default(false)
      .describe(
        "Whether gateways read clients' IP addresses from the X-Forwarded-For header. Enable it only behind proxies that always append the address of their client.",
      ),
    forwardedHops: z
      .number()
      .int()
      .min(1)
      .max(MAX_HOPS)
      .default(1)
      .describe(
        'Number of trusted proxies in front of the gateways. As many of the last entries of X-Forwarded-For are trusted. Requires `forwardedHeaders`.',
      ),
    tls: z
      .object({
        secretName: z
          .string()
          .min(1)
          .max(253)
          .describe(
            'Name of a Secret of type kubernetes.io/tls, in the namespace of the PushCluster. Changing it rolls out the gateways.',
          ),
      })
      .exactOptional()
      .describe('If set, gateways serve TLS with this certificate. A renewed certificate is loaded without a restart.'),
  }),
  {
    rule: '!has(self.forwardedHops) || self.forwardedHops == 1 || (has(self.forwardedHeaders) && self.forwardedHeaders)',
    message: 'gateway.service.forwardedHops requires forwardedHeaders',
    fieldPath: '.forwardedHops',
  },
);
