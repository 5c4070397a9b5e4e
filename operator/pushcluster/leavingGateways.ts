import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import { LEFT_ANNOTATION, SERVING_LABEL } from './desired/names.ts';
import type { LeavingGateway } from './gatewayPod.ts';
import { isReady } from './observedGateways.ts';
import type { PodState } from './scalePolicy.ts';

export type LeavingGateways = {
  gateways: readonly LeavingGateway[];
  /** Milliseconds until the first of them accepts none that a load balancer sends. */
  againIn?: number;
};

const Pod = z.object({
  spec: z.object({ nodeName: z.string().default('') }).prefault({}),
  status: z.object({ podIPs: z.array(z.object({ ip: z.string() })).default([]) }).prefault({}),
});

/**
 * How long before the end of its settling a gateway is no longer used, milliseconds: kube-proxy and load balancers need
 * this time to notice, so that clients that are moved do not come back to it.
 */
const MARGIN_MS = 5_000;

/**
 * How long a gateway that has left the Service is still used if its node has no other, milliseconds: somewhat less than it
 * settles.
 */
export function leavingTime(settle: number): number {
  return Math.max(settle / 2, settle - MARGIN_MS);
}

/**
 * The gateways that have left the Service within the last `time` milliseconds, and those that `changes` takes out of it.
 * Pods that shut down are included as long as they are ready.
 * @param now milliseconds since 1970
 */
export function leavingGateways(
  pods: Iterable<KubeObject>,
  changes: ReadonlyMap<string, Pick<PodState, 'isServing'>>,
  time: number,
  now: number,
): LeavingGateways {
  const gateways: LeavingGateway[] = [];
  const left: number[] = [];
  for (const pod of pods) {
    const { name, uid = '', labels, annotations } = pod.metadata;
    if (!isReady(pod)) continue;
    const isServing = labels?.[SERVING_LABEL] === 'true';
    const leaves = isServing && changes.get(uid)?.isServing === false;
    const remaining = isServing ? 0 : leftAt(annotations) + time - now;
    if (!leaves && !(remaining > 0)) continue;
    const { spec, status } = Pod.parse(pod);
    if (spec.nodeName === '') continue;
    gateways.push({ name, uid, node: spec.nodeName, addresses: status.podIPs.map(({ ip }) => ip) });
    if (!leaves) left.push(remaining);
  }
  return left.length === 0 ? { gateways } : { gateways, againIn: Math.min(...left) };
}

/** NaN if it is unknown when the pod left. */
function leftAt(annotations: Record<string, string> | undefined): number {
  return Date.parse(annotations?.[LEFT_ANNOTATION] ?? '');
}
