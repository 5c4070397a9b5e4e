import { z } from 'zod';
import { count, extended, ruled } from '../fields.ts';
import { ScalingBehavior } from '../kubernetes.ts';

export const GatewayAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Minimum number of gateways.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Maximum number of gateways.'),
    targetConnections: count
      .min(1)
      .exactOptional()
      .describe(
        'Target for the average number of connections of a gateway. Must not exceed `gateway.connections.max`.',
      ),
    targetBytesPerSecond: count
      .min(1)
      .exactOptional()
      .describe('Target for the average number of bytes that a gateway sends per second.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .exactOptional()
      .describe('Target for the average CPU usage of a gateway, as a percentage of its CPU request.'),
    behavior: ScalingBehavior.exactOptional().describe(
      'Scaling behavior, as in a HorizontalPodAutoscaler. By default, gateways are added quickly and removed in small steps, at most one step in the time that a drain takes.',
    ),
    keda: z
      .object({
        prometheus: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'gateway.autoscaling.keda.prometheus must be a URL such as http://prometheus.monitoring.svc:9090',
        }).describe('URL of the Prometheus server that scrapes the gateways.'),
        authenticationRef: z
          .object({
            name: z
              .string()
              .min(1)
              .max(253)
              .describe('Name of the TriggerAuthentication or ClusterTriggerAuthentication.'),
            kind: z
              .enum(['TriggerAuthentication', 'ClusterTriggerAuthentication'])
              .default('TriggerAuthentication')
              .describe('Kind of the object. A TriggerAuthentication is in the namespace of the PushCluster.'),
          })
          .exactOptional()
          .describe(
            'Object of KEDA with the credentials for Prometheus. Set `authModes` as well, unless the credentials do.',
          ),
        authModes: z
          .array(z.enum(['apiKey', 'basic', 'bearer', 'custom', 'oauth', 'tls']))
          .max(6)
          .default([])
          .describe('How KEDA authenticates with the credentials of `authenticationRef`.'),
        headers: ruled(extended(z.record(z.string(), z.string().max(1_024)), { maxProperties: 16 }), {
          // KEDA takes them as one text, `name=value,name=value`.
          rule: "self.all(k, k.matches('^[A-Za-z0-9-]+$') && self[k].matches('^[ -~]+$') && !self[k].contains(',') && !self[k].contains('='))",
          message:
            'gateway.autoscaling.keda.headers must have names of letters, digits and "-", and values of printable ASCII without "," and "="',
        })
          .default({})
          .describe('HTTP headers of the queries, such as `X-Scope-OrgID`. Not for secrets: use `authenticationRef`.'),
      })
      .exactOptional()
      .describe(
        'If set, the operator creates a KEDA ScaledObject instead of a HorizontalPodAutoscaler. KEDA must be installed.',
      ),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'gateway.autoscaling.minReplicas must not exceed maxReplicas',
    fieldPath: '.minReplicas',
  },
  {
    rule: 'has(self.targetConnections) || has(self.targetBytesPerSecond) || has(self.targetCPUUtilization)',
    message:
      'gateway.autoscaling needs at least one target: targetConnections, targetBytesPerSecond or targetCPUUtilization',
  },
);
