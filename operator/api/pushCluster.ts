import { z } from 'zod';
import { extended, type Rule } from './fields.ts';
import { Condition } from './kubernetes.ts';
import { Spec } from './spec.ts';

export { Spec } from './spec.ts';

export const GROUP = 'pushcluster.dev';
export const VERSION = 'v1alpha1';
export const KIND = 'PushCluster';
export const PLURAL = 'pushclusters';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** Names of what is made for a cluster, pods included, are at most this much longer, and must fit the 63 characters of a label. */
export const MAX_NAME_LENGTH = 36;

const count = z.number().int().min(0);

export const Status = z.object({
  observedGeneration: count.optional().describe('The generation that this status is about.'),
  version: z.string().optional().describe("Tag or digest of the gateways' image."),
  conditions: extended(z.array(Condition), {
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
  })
    .optional()
    .describe('Ready, Available, Progressing, Degraded.'),
  gateway: z
    .object({
      replicas: count.optional().describe('Gateways that are not draining.'),
      readyReplicas: count.optional().describe('Of them, those that are ready.'),
      draining: count.optional().describe('Gateways that are draining.'),
      connections: count.optional().describe('Open connections, coarsely: every 30 s, when it changed by 5 %.'),
      selector: z.string().optional().describe('Selects the gateway pods, for the scale subresource.'),
    })
    .optional()
    .describe('The gateways.'),
  logic: z
    .object({
      replicas: count.optional().describe('Logic pods.'),
      readyReplicas: count.optional().describe('Ready ones.'),
    })
    .optional()
    .describe('Logic.'),
  nats: z
    .object({
      url: z.string().optional().describe('Where the pods find it.'),
      replicas: count.optional().describe('Servers, where they are managed.'),
      readyReplicas: count.optional().describe('Ready ones, where they are managed.'),
    })
    .optional()
    .describe('NATS.'),
  endpoints: z
    .object({
      gateway: z.string().optional().describe('Where clients connect inside the cluster.'),
      external: z
        .array(z.string())
        .optional()
        .describe('Where clients connect from outside, as the load balancer says.'),
      logic: z.string().optional().describe('The push API, inside the cluster.'),
      apiKeySecret: z.string().optional().describe('The Secret of the generated API key, under `key`.'),
    })
    .optional()
    .describe('Addresses.'),
});
export type Status = z.infer<typeof Status>;

/** A PushCluster as the API server gives it; what it doesn't know of metadata is left out. */
export const PushCluster = z.object({
  apiVersion: z.literal(API_VERSION).default(API_VERSION),
  kind: z.literal(KIND).default(KIND),
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string(),
    generation: z.number().int().default(1),
    resourceVersion: z.string().optional(),
    deletionTimestamp: z.union([z.string(), z.date()]).optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: Spec.prefault({}),
  status: Status.optional(),
});
export type PushCluster = z.infer<typeof PushCluster>;

/** Rules about the whole object. */
export const ROOT_RULES: readonly Rule[] = [
  {
    rule: `size(self.metadata.name) <= ${MAX_NAME_LENGTH}`,
    message: `metadata.name must have at most ${MAX_NAME_LENGTH} characters: names of pods and Services are made of it`,
  },
  {
    rule: "!self.metadata.name.contains('.')",
    message: 'metadata.name must have no dot: names of Services are made of it',
  },
  {
    rule: "self.metadata.name.matches('^[a-z]')",
    message: 'metadata.name must begin with a letter: names of Services are made of it',
  },
];
