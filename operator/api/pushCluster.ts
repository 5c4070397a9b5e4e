import { z } from 'zod';
import { mapOf, type Rule } from './fields.ts';
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
  observedGeneration: count.exactOptional().describe('The generation that this status is about.'),
  version: z.string().exactOptional().describe("Tag or digest of the gateways' image."),
  conditions: mapOf(z.array(Condition), 'type').exactOptional().describe('Ready, Available, Progressing, Degraded.'),
  gateway: z
    .object({
      replicas: count.exactOptional().describe('Gateways that are not draining.'),
      readyReplicas: count.exactOptional().describe('Of them, those that are ready.'),
      draining: count.exactOptional().describe('Gateways that are draining.'),
      connections: count.exactOptional().describe('Open connections, coarsely: every 30 s, when it changed by 5 %.'),
      selector: z
        .string()
        .exactOptional()
        .describe('Selects the gateway pods, those that drain too, for the scale subresource.'),
    })
    .exactOptional()
    .describe('The gateways.'),
  logic: z
    .object({
      replicas: count.exactOptional().describe('Logic pods.'),
      readyReplicas: count.exactOptional().describe('Ready ones.'),
    })
    .exactOptional()
    .describe('Logic.'),
  nats: z
    .object({
      url: z.string().exactOptional().describe('Where the pods find it.'),
      replicas: count.exactOptional().describe('Servers, where they are managed.'),
      readyReplicas: count.exactOptional().describe('Ready ones, where they are managed.'),
    })
    .exactOptional()
    .describe('NATS.'),
  endpoints: z
    .object({
      gateway: z.string().exactOptional().describe('Where clients connect inside the cluster.'),
      external: z
        .array(z.string())
        .exactOptional()
        .describe('Where clients connect from outside, as the load balancer says.'),
      logic: z.string().exactOptional().describe('The push API, inside the cluster.'),
      apiKeySecret: z.string().exactOptional().describe('The Secret of the generated API key, under `key`.'),
    })
    .exactOptional()
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
    resourceVersion: z.string().exactOptional(),
    deletionTimestamp: z.union([z.string(), z.date()]).exactOptional(),
    labels: z.record(z.string(), z.string()).exactOptional(),
    annotations: z.record(z.string(), z.string()).exactOptional(),
  }),
  spec: Spec.prefault({}),
  status: Status.exactOptional(),
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
