import { z } from 'zod';
import { extended, mapOf } from './fields.ts';

/**
 * Types of Kubernetes inside a PushCluster. The schemas contain the fields, so that misspelled ones are rejected.
 * Values are validated by the API server when the objects that they are copied to are applied.
 */

const int = z.number().int();
const nameSchema = z.string().min(1).max(253);

/** A quantity such as `500m`, `2` or `1Gi`. */
const Quantity = extended(z.union([z.number(), z.string()]), {
  'x-kubernetes-int-or-string': true,
  pattern:
    '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$',
});

const amounts = extended(z.record(z.string(), Quantity), { maxProperties: 32 });

export const Resources = z.object({
  requests: amounts.exactOptional().describe('Resources that the scheduler reserves on the node.'),
  limits: amounts
    .exactOptional()
    .describe('Maximum resources of the container. Requests that are not set equal the limits.'),
});

export const LocalReference = z.object({
  name: nameSchema.describe('Name of the object, in the namespace of the PushCluster.'),
});

const LabelSelector = z.object({
  matchLabels: z.record(z.string(), z.string()).exactOptional(),
  matchExpressions: z
    .array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).exactOptional() }))
    .exactOptional(),
});

const Toleration = z.object({
  key: z.string().exactOptional(),
  operator: z.string().exactOptional(),
  value: z.string().exactOptional(),
  effect: z.string().exactOptional(),
  tolerationSeconds: int.exactOptional(),
});

const NodeRequirement = z.object({
  key: z.string(),
  operator: z.string(),
  values: z.array(z.string()).exactOptional(),
});

const NodeSelectorTerm = z.object({
  matchExpressions: z.array(NodeRequirement).exactOptional(),
  matchFields: z.array(NodeRequirement).exactOptional(),
});

const PodAffinityTerm = z.object({
  topologyKey: z.string(),
  labelSelector: LabelSelector.exactOptional(),
  namespaces: z.array(z.string()).exactOptional(),
  namespaceSelector: LabelSelector.exactOptional(),
  matchLabelKeys: z.array(z.string()).exactOptional(),
  mismatchLabelKeys: z.array(z.string()).exactOptional(),
});

const PodAffinity = z.object({
  requiredDuringSchedulingIgnoredDuringExecution: z.array(PodAffinityTerm).exactOptional(),
  preferredDuringSchedulingIgnoredDuringExecution: z
    .array(z.object({ weight: int.min(1).max(100), podAffinityTerm: PodAffinityTerm }))
    .exactOptional(),
});

const Affinity = z.object({
  nodeAffinity: z
    .object({
      requiredDuringSchedulingIgnoredDuringExecution: z
        .object({ nodeSelectorTerms: z.array(NodeSelectorTerm) })
        .exactOptional(),
      preferredDuringSchedulingIgnoredDuringExecution: z
        .array(z.object({ weight: int.min(1).max(100), preference: NodeSelectorTerm }))
        .exactOptional(),
    })
    .exactOptional(),
  podAffinity: PodAffinity.exactOptional(),
  podAntiAffinity: PodAffinity.exactOptional(),
});

const TopologySpreadConstraint = z.object({
  maxSkew: int.min(1),
  topologyKey: z.string(),
  whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway']),
  labelSelector: LabelSelector.exactOptional(),
  matchLabelKeys: z.array(z.string()).exactOptional(),
  minDomains: int.min(1).exactOptional(),
  nodeAffinityPolicy: z.enum(['Honor', 'Ignore']).exactOptional(),
  nodeTaintsPolicy: z.enum(['Honor', 'Ignore']).exactOptional(),
});

export const Placement = z.object({
  nodeSelector: extended(z.record(z.string(), z.string()), { maxProperties: 64 })
    .default({})
    .describe('Labels that a node must have to run the pods.'),
  tolerations: z.array(Toleration).max(64).default([]).describe('Taints of nodes that the pods tolerate.'),
  affinity: Affinity.exactOptional().describe('Affinity, as in a pod.'),
  topologySpreadConstraints: mapOf(z.array(TopologySpreadConstraint).max(16), 'topologyKey', 'whenUnsatisfiable')
    .exactOptional()
    .describe(
      'Topology spread constraints, as in a pod. A constraint without a label selector applies to the pods of this role. By default, pods are spread over nodes and zones if possible.',
    ),
  priorityClassName: z.string().max(253).exactOptional().describe('PriorityClass of the pods.'),
});

const ScalingRules = z.object({
  stabilizationWindowSeconds: int.min(0).max(3_600).exactOptional(),
  selectPolicy: z.enum(['Max', 'Min', 'Disabled']).exactOptional(),
  policies: z
    .array(
      z.object({
        type: z.enum(['Pods', 'Percent']),
        value: int.min(1),
        periodSeconds: int.min(1).max(1_800),
      }),
    )
    .max(16)
    .exactOptional(),
});

export const ScalingBehavior = z.object({
  scaleUp: ScalingRules.exactOptional(),
  scaleDown: ScalingRules.exactOptional(),
});

export const Condition = z.object({
  type: z.string().max(316),
  status: z.enum(['True', 'False', 'Unknown']),
  reason: z.string().max(1_024),
  message: z.string().max(32_768),
  lastTransitionTime: extended(z.string(), { format: 'date-time' }),
  observedGeneration: int.exactOptional(),
});
