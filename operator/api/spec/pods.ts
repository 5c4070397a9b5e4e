import { Placement, Resources } from '../kubernetes.ts';

/** @param memory the default memory request */
export const resources = (memory: string) =>
  Resources.default({ requests: { cpu: '100m', memory } }).describe(
    'Of each pod; what is given replaces the default whole. With limits alone, or equal to the requests, pods are of the guaranteed QoS class.',
  );

export const placement = Placement.prefault({}).describe('Where pods run.');

/** CEL for pods that ask for CPU: limits count as requests. The default does. */
export const ASKS_FOR_CPU =
  "(!has(self.resources) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits))";
