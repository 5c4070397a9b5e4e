import { z } from 'zod';
import { Placement, Resources } from '../kubernetes.ts';

/**
 * Pods of a Deployment. Without a default: the API server would fill it in, and a number that was left out could not be
 * told from one that was set.
 */
export const replicas = z.number().int().min(0).max(1_000).exactOptional();

/** @param memory the default memory request */
export const resources = (memory: string) =>
  Resources.default({ requests: { cpu: '100m', memory } }).describe(
    "CPU and memory of each pod's container. If set, replaces the default entirely. If requests equal limits, or only limits are set, the pods have the Guaranteed QoS class. Changing it rolls out the pods.",
  );

export const placement = Placement.prefault({}).describe(
  'Constraints on the nodes that the pods run on. Changing it rolls out the pods.',
);

/** CEL: the pods request CPU. Without a request, Kubernetes uses the limit. */
export const ASKS_FOR_CPU = `(!has(self.resources) || (${isSet('requests')} ? ${isMore('requests')} : (${isSet('limits')} && ${isMore('limits')})))`;

function isSet(what: 'requests' | 'limits'): string {
  return `has(self.resources.${what}) && 'cpu' in self.resources.${what}`;
}

/** What is no quantity is refused elsewhere. */
function isMore(what: 'requests' | 'limits'): string {
  const cpu = `string(self.resources.${what}['cpu'])`;
  return `(!isQuantity(${cpu}) || quantity(${cpu}).isGreaterThan(quantity('0')))`;
}
