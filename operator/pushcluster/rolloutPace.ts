import { RELEASE_SECONDS, surgeOf } from './desired/gateway.ts';
import type { GatewayPod } from './gatewayPod.ts';
import { plural } from './plural.ts';

/** Times of the API have whole seconds. */
const ROUNDING_MS = 1_000;

export type RolloutPace = {
  /** Why the next old gateways must not be terminated; undefined if they may. */
  holds: string | undefined;
  /** Milliseconds until new gateways have been ready for long enough; 0 if they have. */
  settlesIn: number;
};

/**
 * Whether a rollout may terminate the next old gateways, if the number of those that are terminating is limited. The
 * Deployment terminates as many at a time as it adds, and all of them at once if the new ones have been ready for long
 * enough: otherwise, those that come later would wait until the first are gone.
 * @param now milliseconds since 1970
 */
export function rolloutPace(
  pods: readonly GatewayPod[],
  terminating: number,
  replicas: number,
  maxTerminating: number | undefined,
  now: number,
): RolloutPace {
  if (maxTerminating === undefined) return { holds: undefined, settlesIn: 0 };
  const readyFor = pods.flatMap(({ isCurrent, readySince }) => (isCurrent && readySince ? [now - readySince] : []));
  const settlesIn = Math.max(0, RELEASE_SECONDS * 1_000 + ROUNDING_MS - Math.min(...readyFor));
  if (terminating + surgeOf(replicas, maxTerminating) <= maxTerminating) return { holds: undefined, settlesIn };
  const who = `${plural(terminating, 'gateway')} ${terminating === 1 ? 'is' : 'are'} terminating`;
  return { holds: `${who}, and gateway.rollout.maxTerminating is ${maxTerminating}`, settlesIn };
}
