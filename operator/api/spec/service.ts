import { z } from 'zod';
import { extended, port, type Rule, ruled } from '../fields.ts';
import { annotations, labelValue, marks } from './metadata.ts';

export const SERVICE_TYPES = ['LoadBalancer', 'NodePort', 'ClusterIP'] as const;

/** CEL: the Service has this type, which is not the default one. */
const isType = (type: string) => `(has(self.type) && self.type == '${type}')`;
const isBalanced = isType('LoadBalancer');

const family = z.enum(['IPv4', 'IPv6']);

/**
 * Fields of the Services for clients and for publishers, as in a Service of Kubernetes.
 * @param field the Service as validation messages call it
 * @param pods the pods behind it
 */
export function serviceFields(field: string, pods: string) {
  return {
    nodePort: port
      .exactOptional()
      .describe(
        'Port of the Service on each node, from the range of the API server (30000 to 32767 by default). If not set, the API server chooses one, and keeps it. Not allowed if `type` is `ClusterIP`.',
      ),
    annotations: annotations.default({}).describe('Annotations of the Service, for example for the load balancer.'),
    labels: marks(`${field}.labels`, labelValue).describe('Labels of the Service.'),
    loadBalancerClass: z
      .string()
      .min(1)
      .max(317)
      .exactOptional()
      .describe(
        'Load balancer implementation, such as `service.k8s.aws/nlb`. The API server does not allow to change it, except together with `type`. Requires `type: LoadBalancer`.',
      ),
    loadBalancerIP: ruled(z.string().max(45), {
      rule: 'isIP(self)',
      message: `${field}.loadBalancerIP must be an IP address`,
    })
      .exactOptional()
      .describe(
        'Address of the load balancer, if its implementation supports the field: Kubernetes has deprecated it, and many take an annotation instead. Requires `type: LoadBalancer`.',
      ),
    loadBalancerSourceRanges: ruled(
      extended(z.array(z.string().max(43)).max(128), { 'x-kubernetes-list-type': 'atomic' }),
      {
        rule: 'self.all(r, isCIDR(r))',
        message: `${field}.loadBalancerSourceRanges must be networks such as 203.0.113.0/24`,
      },
    )
      .exactOptional()
      .describe(
        'Networks from which the load balancer accepts connections, if it supports that. Requires `type: LoadBalancer`.',
      ),
    allocateLoadBalancerNodePorts: z
      .boolean()
      .exactOptional()
      .describe(
        'With `false`, the Service gets no port on the nodes: for load balancers that send to pods themselves. Ports that it already has stay. Requires `type: LoadBalancer`.',
      ),
    externalIPs: ruled(extended(z.array(z.string().max(45)).max(32), { 'x-kubernetes-list-type': 'atomic' }), {
      rule: 'self.all(a, isIP(a))',
      message: `${field}.externalIPs must be IP addresses`,
    })
      .exactOptional()
      .describe(
        'Addresses that are routed to the nodes by other means, and that nodes accept for the Service. Some clusters refuse them.',
      ),
    ipFamilies: ruled(extended(z.array(family).min(1).max(2), { 'x-kubernetes-list-type': 'atomic' }), {
      rule: 'size(self) < 2 || self[0] != self[1]',
      message: `${field}.ipFamilies must differ`,
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
    internalTrafficPolicy: z
      .enum(['Cluster', 'Local'])
      .exactOptional()
      .describe(
        `Traffic policy of the Service for clients in the cluster. With \`Local\`, a pod reaches only the ${pods} on its node, and none if there is none.`,
      ),
    trafficDistribution: z
      .enum(['PreferClose', 'PreferSameZone', 'PreferSameNode'])
      .exactOptional()
      .describe(
        `Whether connections go to ${pods} that are near, as long as there are any: in the same zone (\`PreferClose\` or, from Kubernetes 1.34 on, \`PreferSameZone\`), or on the same node (\`PreferSameNode\`, 1.34). If not set, they go to all alike.`,
      ),
  };
}

/** Rules of the object that `serviceFields` are in. @param field as in serviceFields */
export function serviceRules(field: string): Rule[] {
  return [
    {
      rule: "!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')",
      message: `${field}.nodePort requires type LoadBalancer or NodePort`,
      fieldPath: '.nodePort',
    },
    ...(['loadBalancerClass', 'loadBalancerIP', 'allocateLoadBalancerNodePorts'] as const).map((own) => ({
      rule: `!has(self.${own}) || ${isBalanced}`,
      message: `${field}.${own} requires type LoadBalancer`,
      fieldPath: `.${own}`,
    })),
    {
      rule: `!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || ${isBalanced}`,
      message: `${field}.loadBalancerSourceRanges requires type LoadBalancer`,
      fieldPath: '.loadBalancerSourceRanges',
    },
    {
      rule: "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || (has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack')",
      message: `${field}.ipFamilies can be two only with ipFamilyPolicy PreferDualStack or RequireDualStack`,
      fieldPath: '.ipFamilies',
    },
  ];
}
