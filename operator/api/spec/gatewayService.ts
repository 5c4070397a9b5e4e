import { MAX_HOPS } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';
import { port, ruled } from '../fields.ts';
import { servedCertificate } from './secretRef.ts';
import { SERVICE_TYPES, serviceFields, serviceRules } from './service.ts';

const FIELD = 'gateway.service';

export const GatewayService = ruled(
  z.object({
    type: z
      .enum(SERVICE_TYPES)
      .default('ClusterIP')
      .describe(
        'Type of the Service. `ClusterIP` is reachable only inside the Kubernetes cluster, and by `kubectl port-forward`. In a cluster without a load balancer, `LoadBalancer` works like `NodePort` until there is one. Changing it from or to `LoadBalancer` rolls out the gateways, unless `drain.settle` is set or `externalTrafficPolicy` is `Cluster`.',
      ),
    port: port.default(7_777).describe('Port of the Service. The pods always listen on port 7777.'),
    ...serviceFields(FIELD, 'gateways'),
    sessionAffinity: z
      .enum(['None', 'ClientIP'])
      .exactOptional()
      .describe(
        'With `ClientIP`, new connections from an IP address go to the same gateway for three hours. Clients that a gateway moves away then come back to it while it is in the Service, so rebalancing has no effect on them.',
      ),
    externalTrafficPolicy: z
      .enum(['Local', 'Cluster'])
      .default('Local')
      .describe(
        "Traffic policy of the Service. `Local` preserves clients' IP addresses and avoids a second hop. Ignored if `type` is `ClusterIP`. Changing it rolls out the gateways, unless `drain.settle` is set.",
      ),
    healthCheckNodePort: port
      .exactOptional()
      .describe(
        'Port on each node at which load balancers ask whether the node has gateways, from the same range as `nodePort`. If not set, the API server chooses one. It can only be set together with `type`. Requires `type: LoadBalancer` and `externalTrafficPolicy: Local`.',
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
    tls: servedCertificate('Changing it rolls out the gateways.')
      .exactOptional()
      .describe('If set, gateways serve TLS with this certificate. A renewed certificate is loaded without a restart.'),
  }),
  {
    rule: '!has(self.forwardedHops) || self.forwardedHops == 1 || (has(self.forwardedHeaders) && self.forwardedHeaders)',
    message: 'gateway.service.forwardedHops requires forwardedHeaders',
    fieldPath: '.forwardedHops',
  },
  {
    rule: "!has(self.healthCheckNodePort) || (has(self.type) && self.type == 'LoadBalancer' && (!has(self.externalTrafficPolicy) || self.externalTrafficPolicy == 'Local'))",
    message: 'gateway.service.healthCheckNodePort requires type LoadBalancer and externalTrafficPolicy Local',
    fieldPath: '.healthCheckNodePort',
  },
  ...serviceRules(FIELD),
);
