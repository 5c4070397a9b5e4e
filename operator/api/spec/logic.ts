import { z } from 'zod';
import { mapOf, pattern, ruled } from '../fields.ts';
import { ScalingBehavior } from '../kubernetes.ts';
import { annotations } from './metadata.ts';
import { ASKS_FOR_CPU, placement, resources } from './pods.ts';
import { secretRef } from './secretRef.ts';

const ApiKey = z.object({
  name: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
    .describe('Shown in logs; never the key itself.'),
  secretRef: secretRef('key').describe('Where the key is, one a line: two lines are two valid keys, for rotation.'),
  scope: z
    .object({
      all: z.boolean().default(false).describe('Push to all.'),
      rooms: z.array(pattern).max(100).default([]).describe('Push to rooms that match.'),
      users: z.array(pattern).max(100).default([]).describe('Push to users that match.'),
      disconnect: z.boolean().default(false).describe('Disconnect users and rooms that match.'),
      read: z.boolean().default(false).describe('Read rooms, users and stats.'),
    })
    .exactOptional()
    .describe('What it may do. Absent: everything.'),
});

const LogicAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Logic pods at least.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Logic pods at most.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .default(80)
      .describe('Per cent of the CPU request, on average.'),
    behavior: ScalingBehavior.exactOptional().describe('As in a HorizontalPodAutoscaler.'),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'logic.autoscaling.minReplicas must not be above maxReplicas',
    fieldPath: '.minReplicas',
  },
);

export const Logic = ruled(
  z.object({
    replicas: z
      .number()
      .int()
      .min(0)
      .max(1_000)
      .default(2)
      .describe('Logic pods. Without meaning beside `autoscaling`.'),
    autoscaling: LogicAutoscaling.exactOptional().describe('Makes a HorizontalPodAutoscaler for the logic Deployment.'),
    apiKeys: mapOf(z.array(ApiKey).max(64), 'name')
      .default([])
      .describe('Who may push. None: one key is generated, in the Secret that status.endpoints names.'),
    service: z
      .object({
        type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']).default('ClusterIP').describe('Of the Service.'),
        port: z
          .number()
          .int()
          .min(1)
          .max(65_535)
          .default(7_799)
          .describe('Port of the Service; the pods listen on 7799.'),
        annotations: annotations.default({}).describe('Of the Service.'),
      })
      .prefault({})
      .describe('How backends reach the push API.'),
    resources: resources('192Mi'),
    placement,
  }),
  {
    rule: `!has(self.autoscaling) || ${ASKS_FOR_CPU}`,
    message: 'logic.autoscaling is by per cent of logic.resources.requests.cpu, which is not set',
    fieldPath: '.autoscaling',
  },
);
