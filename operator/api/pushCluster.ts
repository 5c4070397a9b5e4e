import { z } from 'zod';
import { ManagedFields } from '../kube/fieldOwners.ts';
import { mapOf, type Rule } from './fields.ts';
import { Condition } from './kubernetes.ts';
import { Spec } from './spec.ts';

export { Spec } from './spec.ts';

export const GROUP = 'pushcluster.dev';
export const VERSION = 'v1alpha1';
export const KIND = 'PushCluster';
export const PLURAL = 'pushclusters';
export const API_VERSION = `${GROUP}/${VERSION}`;

/**
 * Names of pods and other objects add up to 27 characters to the name of the PushCluster, and must fit the 63 of a
 * label.
 */
export const MAX_NAME_LENGTH = 36;

const count = z.number().int().min(0);
/** For `kubectl get`, whose columns cannot join two fields. */
const ofWanted = z.string().exactOptional().describe('Number of ready pods, and of those that are wanted: `2/3`.');

export const Status = z.object({
  observedGeneration: count.exactOptional().describe('Generation of the PushCluster that this status describes.'),
  version: z
    .string()
    .exactOptional()
    .describe("Tag of the gateways' image, or the first 12 digits of its digest if it has no tag."),
  conditions: mapOf(z.array(Condition), 'type')
    .exactOptional()
    .describe(
      'Conditions of the PushCluster: Ready, Available, Progressing and Degraded, Autoscaling with an autoscaler, HistoryDurable with rooms that have a history, and Exposed as long as anyone may connect from outside.',
    ),
  gateway: z
    .object({
      replicas: count.exactOptional().describe('Number of gateways, without those that are draining.'),
      readyReplicas: count.exactOptional().describe('Number of gateways that are ready and not draining.'),
      ready: ofWanted,
      draining: count.exactOptional().describe('Number of gateways that are draining.'),
      pods: z
        .object({
          total: count.exactOptional().describe('Number of gateway pods, including those that drain or terminate.'),
          ready: count.exactOptional().describe('Number of gateway pods that are ready and not terminating.'),
          terminating: count
            .exactOptional()
            .describe('Number of gateway pods that are terminating: they move their connections before they exit.'),
        })
        .exactOptional()
        .describe('All gateway pods, of any version: in a rollout, up to twice `gateway.replicas`.'),
      connections: count
        .exactOptional()
        .describe(
          'Approximate number of open connections. Updated at most every 30 seconds, when it has changed by more than 5 %.',
        ),
      selector: z
        .string()
        .exactOptional()
        .describe(
          'Label selector of the gateway pods, including those that are draining. Used by the scale subresource.',
        ),
    })
    .exactOptional()
    .describe('State of the gateways.'),
  logic: z
    .object({
      replicas: count.exactOptional().describe('Number of logic pods.'),
      readyReplicas: count.exactOptional().describe('Number of logic pods that are ready.'),
      ready: ofWanted,
    })
    .exactOptional()
    .describe('State of the logic pods.'),
  nats: z
    .object({
      url: z.string().exactOptional().describe('URL of NATS, as the pods use it.'),
      replicas: count.exactOptional().describe('Number of managed NATS servers. Not set with `nats.url`.'),
      readyReplicas: count
        .exactOptional()
        .describe('Number of managed NATS servers that are ready. Not set with `nats.url`.'),
      ready: ofWanted,
    })
    .exactOptional()
    .describe('State of NATS.'),
  endpoints: z
    .object({
      client: z.string().exactOptional().describe('URL for clients: the first of `external`, otherwise `gateway`.'),
      gateway: z.string().exactOptional().describe('URL for clients inside the Kubernetes cluster.'),
      external: z
        .array(z.string())
        .exactOptional()
        .describe('URLs for clients outside the Kubernetes cluster, as reported by the load balancer.'),
      logic: z.string().exactOptional().describe('URL of the push API, inside the Kubernetes cluster.'),
      apiKeySecret: z
        .string()
        .exactOptional()
        .describe('Name of the Secret with the generated API key, stored under `key`. Not set if `logic.apiKeys` is.'),
    })
    .exactOptional()
    .describe('Addresses of the PushCluster.'),
});
export type Status = z.infer<typeof Status>;

/** A PushCluster as the API server returns it. Unknown fields of metadata are dropped. */
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
    managedFields: ManagedFields.exactOptional(),
  }),
  spec: Spec.prefault({}),
  status: Status.exactOptional(),
});
export type PushCluster = z.infer<typeof PushCluster>;

/** Validation rules of the whole object. */
export const ROOT_RULES: readonly Rule[] = [
  {
    rule: `size(self.metadata.name) <= ${MAX_NAME_LENGTH}`,
    message: `metadata.name must have at most ${MAX_NAME_LENGTH} characters: it is part of the names of pods and Services`,
  },
  {
    rule: "!self.metadata.name.contains('.')",
    message: 'metadata.name must not contain a dot: it is part of the names of Services',
  },
  {
    rule: "self.metadata.name.matches('^[a-z]')",
    message: 'metadata.name must begin with a letter: it is part of the names of Services',
  },
];
