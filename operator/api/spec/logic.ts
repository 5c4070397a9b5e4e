import { z } from 'zod';
import { count, duration, mapOf, pattern, port, ruled, size } from '../fields.ts';
import { ScalingBehavior } from '../kubernetes.ts';
import { disruptionBudget } from './disruptionBudget.ts';
import { origins } from './origins.ts';
import { ASKS_FOR_CPU, placement, replicas, resources } from './pods.ts';
import { LOGIC_TEMPLATE, podTemplate } from './podTemplate.ts';
import { secretRef, servedCertificate } from './secretRef.ts';
import { SERVICE_TYPES, serviceFields, serviceRules } from './service.ts';
import { serviceAccount } from './serviceAccount.ts';

const ApiKey = z.object({
  name: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
    .describe('Name of the key, as shown in logs. Must be unique. Changing it rolls out the logic pods.'),
  secretRef: secretRef('key').describe(
    'Secret that holds the key. Each line of the value is a valid key; use two lines while you rotate keys. The content is reloaded without a restart, but changing the reference rolls out the logic pods.',
  ),
  scope: z
    .object({
      all: z.boolean().default(false).describe('Whether the key may push to all connections.'),
      rooms: z
        .array(pattern)
        .max(100)
        .default([])
        .describe('Names of the rooms that the key may push to. `*` matches any characters.'),
      users: z
        .array(pattern)
        .max(100)
        .default([])
        .describe('Names of the users that the key may push to. `*` matches any characters.'),
      disconnect: z
        .boolean()
        .default(false)
        .describe('Whether the key may disconnect the users and rooms that match `users` and `rooms`.'),
      read: z.boolean().default(false).describe('Whether the key may read rooms, users and statistics.'),
      history: z
        .array(pattern)
        .max(100)
        .default([])
        .describe('Names of the rooms whose history the key may read. `*` matches any characters.'),
    })
    .exactOptional()
    .describe('Operations that the key is allowed. If not set, all are.'),
});

const LogicAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Minimum number of logic pods.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Maximum number of logic pods.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .default(80)
      .describe('Target for the average CPU usage of a logic pod, as a percentage of its CPU request.'),
    behavior: ScalingBehavior.exactOptional().describe('Scaling behavior, as in a HorizontalPodAutoscaler.'),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'logic.autoscaling.minReplicas must not exceed maxReplicas',
    fieldPath: '.minReplicas',
  },
);

export const Logic = ruled(
  z.object({
    replicas: replicas.describe(
      'Number of logic pods. If it is not set, 2 for a new PushCluster, otherwise the current number. Ignored if `autoscaling` is set.',
    ),
    autoscaling: LogicAutoscaling.exactOptional().describe(
      'If set, the operator creates a HorizontalPodAutoscaler for the logic Deployment.',
    ),
    apiKeys: mapOf(z.array(ApiKey).max(64), 'name')
      .default([])
      .describe(
        'API keys of publishers. If empty, the operator generates one key, in the Secret named by `status.endpoints.apiKeySecret`.',
      ),
    service: ruled(
      z.object({
        type: z.enum(SERVICE_TYPES).default('ClusterIP').describe('Type of the Service.'),
        port: port.default(7_799).describe('Port of the Service. The pods always listen on port 7799.'),
        ...serviceFields('logic.service', 'logic pods'),
        externalTrafficPolicy: z
          .enum(['Local', 'Cluster'])
          .exactOptional()
          .describe(
            'Traffic policy of the Service for publishers outside the Kubernetes cluster. If not set, the API server chooses `Cluster`. Ignored if `type` is `ClusterIP`.',
          ),
        tls: servedCertificate('Changing it rolls out the logic pods.')
          .exactOptional()
          .describe(
            'If set, the push API is HTTPS with this certificate instead of HTTP. A renewed certificate is loaded without a restart.',
          ),
      }),
      ...serviceRules('logic.service'),
    )
      .prefault({})
      .describe('Service through which publishers reach the push API.'),
    allowedOrigins: origins('logic.allowedOrigins').describe(
      'Origins of web pages that may push from a browser. `*` matches any characters. If empty, none are allowed but pages of the push API itself. Changing it rolls out the logic pods.',
    ),
    limits: z
      .object({
        body: size('logic.limits.body', { min: '1KiB', max: '64MiB' })
          .default('1MiB')
          .describe('Largest body of a request. Changing it rolls out the logic pods.'),
        items: z.number().int().min(1).max(100_000).default(1_000).describe('Maximum number of items in a push.'),
        item: size('logic.limits.item', { min: '1B', max: '1MiB' })
          .default('32KiB')
          .describe('Largest item of a push.'),
      })
      .prefault({})
      .describe('Limits on requests.'),
    urgentRate: count
      .default(100)
      .describe(
        'Maximum number of urgent pushes per second and logic pod, over all rooms. More are answered with 429.',
      ),
    publishTimeout: duration('logic.publishTimeout', { min: '100ms', max: '30s' })
      .default('2s')
      .describe(
        'Maximum time that a push waits for NATS. After it, the answer is 503. Changing it rolls out the logic pods.',
      ),
    askTimeout: duration('logic.askTimeout', { min: '50ms', max: '10s' })
      .default('500ms')
      .describe('Maximum time that gateways may take to answer a question, such as who is in a room.'),
    disruptionBudget: disruptionBudget('logic.disruptionBudget', 'logic pods'),
    resources: resources('192Mi'),
    placement,
    podTemplate: podTemplate(LOGIC_TEMPLATE, 'Changing it rolls out the logic pods.'),
    serviceAccount: serviceAccount('logic.serviceAccount'),
  }),
  {
    rule: `!has(self.autoscaling) || ${ASKS_FOR_CPU}`,
    message:
      'logic.autoscaling needs logic.resources.requests.cpu, which is not set or 0: its target is a percentage of it',
    fieldPath: '.autoscaling',
  },
);
