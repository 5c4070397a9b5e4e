import { MAX_HOPS } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';
import { extended, ruled } from '../fields.ts';
import { annotations, labelValue, marks } from './metadata.ts';
import { servedCertificate } from './secretRef.ts';

/** CEL: the Service has this type, which is not the default one. */
const isType = (type: string) => `(has(self.type) && self.type == '${type}')`;

const family = z.enum(['IPv4', 'IPv6']);

export const GatewayService = ruled(
  z.object({
    type: z
      .enum(['LoadBalancer', 'NodePort', 'ClusterIP'])
      .default('ClusterIP')
      .describe(
        'Type of the Service. `ClusterIP` is reachable only inside the Kubernetes cluster, and by `kubectl port-forward`. In a cluster without a load balancer, `LoadBalancer` works like `NodePort` until there is one. Changing it from or to `LoadBalancer` rolls out the gateways, unless `drain.settle` is set or `externalTrafficPolicy` is `Cluster`.',
      ),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .default(7_777)
      .describe('Port of the Service. The pods always listen on port 7777.'),
    nodePort: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .exactOptional()
      .describe(
        'Port of the Service on each node, from the range of the API server (30000 to 32767 by default). If not set, the API server chooses one, and keeps it. Not allowed if `type` is `ClusterIP`.',
      ),
    annotations: annotations.default({}).describe('Annotations of the Service, for example for the load balancer.'),
    labels: marks('gateway.service.labels', labelValue).describe('Labels of the Service.'),
    loadBalancerClass: z
      .string()
      .min(1)
      .max(317)
      .exactOptional()
      .describe(
        'Load balancer implementation, such as `service.k8s.aws/nlb`. The API server does not allow to change it, except together with `type`. Requires `type: LoadBalancer`.',
      ),
    loadBalancerSourceRanges: ruled(
      extended(z.array(z.string().max(43)).max(128), { 'x-kubernetes-list-type': 'atomic' }),
      {
        rule: 'self.all(r, isCIDR(r))',
        message: 'gateway.service.loadBalancerSourceRanges must be networks such as 203.0.113.0/24',
      },
    )
      .exactOptional()
      .describe(
        'Networks from which the load balancer accepts connections, if it supports that. Requires `type: LoadBalancer`.',
      ),
    externalIPs: ruled(extended(z.array(z.string().max(45)).max(32), { 'x-kubernetes-list-type': 'atomic' }), {
      rule: 'self.all(a, isIP(a))',
      message: 'gateway.service.externalIPs must be IP addresses',
    })
      .exactOptional()
      .describe(
        'Addresses that are routed to the nodes by other means, and that nodes accept for the Service. Some clusters refuse them.',
      ),
    ipFamilies: ruled(extended(z.array(family).min(1).max(2), { 'x-kubernetes-list-type': 'atomic' }), {
      rule: 'size(self) < 2 || self[0] != self[1]',
      message: 'gateway.service.ipFamilies must differ',
    })
      .exactOptional()
      .describe(
        'IP families of the Service, the primary one first. The primary one cannot be changed. If not set, the API server chooses.',
      ),
    ipFamilyPolicy: z
      .enum(['SingleStack', 'PreferDualStack', 'RequireDualStack'])
      .exactOptional()
      .describe(
        'Whether the Service has addresses of both IP families. If not set, the API server chooses `SingleStack`.',
      ),
    sessionAffinity: z
      .enum(['None', 'ClientIP'])
      .exactOptional()
      .describe(
        'With `ClientIP`, new connections from an IP address go to the same gateway for three hours. Clients that a gateway moves away then come back to it while it is in the Service, so rebalancing has no effect on them.',
      ),
    internalTrafficPolicy: z
      .enum(['Cluster', 'Local'])
      .exactOptional()
      .describe(
        'Traffic policy of the Service for clients in the cluster. With `Local`, a pod reaches only the gateways on its node, and none if there is none.',
      ),
    externalTrafficPolicy: z
      .enum(['Local', 'Cluster'])
      .default('Local')
      .describe(
        "Traffic policy of the Service. `Local` preserves clients' IP addresses and avoids a second hop. Ignored if `type` is `ClusterIP`. Changing it rolls out the gateways, unless `drain.settle` is set.",
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
    rule: "!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')",
    message: 'gateway.service.nodePort requires type LoadBalancer or NodePort',
    fieldPath: '.nodePort',
  },
  {
    rule: `!has(self.loadBalancerClass) || ${isType('LoadBalancer')}`,
    message: 'gateway.service.loadBalancerClass requires type LoadBalancer',
    fieldPath: '.loadBalancerClass',
  },
  {
    rule: `!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || ${isType('LoadBalancer')}`,
    message: 'gateway.service.loadBalancerSourceRanges requires type LoadBalancer',
    fieldPath: '.loadBalancerSourceRanges',
  },
  {
    rule: "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || (has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack')",
    message: 'gateway.service.ipFamilies can be two only with ipFamilyPolicy PreferDualStack or RequireDualStack',
    fieldPath: '.ipFamilies',
  },
);
