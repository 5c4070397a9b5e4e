import { z } from 'zod';
import { Placement, Resources } from '../kubernetes.ts';

/** Pods of a Deployment. */
export const replicas = z.number().int().min(0).max(1_000).default(2);

/** @param memory the default memory request */
export const resources = (memory: string) =>
  Resources.default({ requests: { cpu: '100m', memory } }).describe(
    "CPU and memory of each pod's container. If set, replaces the default entirely. If requests equal limits, or only limits are set, the pods have the Guaranteed QoS class. Changing it rolls out the pods.",
  );

export const placement = Placement.prefault({}).describe(
  'Constraints on the nodes that the pods run on. Changing it rolls out the pods.',
);

/** CEL: the pods request CPU. Without requests, Kubernetes uses the limits; the default of `resources` requests CPU. */
export const ASKS_FOR_CPU =
  "(!has(self.resources) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits))";
