import { z } from 'zod';
import { count, ruled } from '../fields.ts';
import { ScalingBehavior } from '../kubernetes.ts';

export const GatewayAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Gateways at least.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Gateways at most.'),
    targetConnections: count.min(1).exactOptional().describe('Connections of a gateway, on average.'),
    targetBytesPerSecond: count.min(1).exactOptional().describe('Bytes a second that a gateway sends, on average.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .exactOptional()
      .describe('Per cent of the CPU request, on average.'),
    behavior: ScalingBehavior.exactOptional().describe(
      'As in a HorizontalPodAutoscaler. Absent: up fast; down in small steps, no sooner than a drain takes.',
    ),
    keda: z
      .object({
        prometheus: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'gateway.autoscaling.keda.prometheus must be a URL such as http://prometheus.monitoring.svc:9090',
        }).describe('URL of the Prometheus that scrapes the gateways.'),
      })
      .exactOptional()
      .describe('Makes a ScaledObject of KEDA in place of the HorizontalPodAutoscaler: KEDA must be installed.'),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'gateway.autoscaling.minReplicas must not be above maxReplicas',
    fieldPath: '.minReplicas',
  },
  {
    rule: 'has(self.targetConnections) || has(self.targetBytesPerSecond) || has(self.targetCPUUtilization)',
    message:
      'gateway.autoscaling needs a target: targetConnections, targetBytesPerSecond or targetCPUUtilization (several: the one that asks for most counts)',
  },
);
