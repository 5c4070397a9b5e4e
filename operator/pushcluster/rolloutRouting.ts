import { surgeOf } from './desired/gateway.ts';
import type { GatewayPod } from './gatewayPod.ts';

/** How long to wait for all new gateways once the first is ready, milliseconds. Less than `HOLD_SECONDS`. */
export const WAIT_MS = 10_000;
/** Interval of checking whether new gateways are overfull, milliseconds. */
const LOOK_MS = 5_000;
/**
 * Multiples of the average: above `out`, new gateways are overfull; below `in`, they alone get new connections again.
 */
const TOO_FULL = { out: 2, in: 1.5 };
/** Up to this mean number of connections, no gateway is overfull. */
const FEW = 1_000;

export type RolloutRouting = {
  /** The Service selects only new gateways. */
  newOnly: boolean;
  /** Milliseconds after which to decide again even without a change. */
  againIn?: number;
};

/**
 * Which gateways get new connections during a rollout: old and new ones, or only new ones once these have enough
 * capacity. They do if as many are ready as a rollout adds at a time, or whatever is ready 10 s after the first of them. Old gateways
 * get new connections again if the new ones fail or become overfull, but no longer once half of the desired gateways
 * are new.
 * @param replicas the desired number of gateways
 * @param now milliseconds since 1970
 * @param surge how many gateways the rollout adds at a time
 */
export function rolloutRouting(
  pods: readonly GatewayPod[],
  replicas: number,
  now: number,
  surge = surgeOf(replicas),
): RolloutRouting {
  const staying = pods.filter(({ drainSince }) => drainSince === undefined);
  const fresh = staying.filter(({ isCurrent }) => isCurrent);
  const ready = fresh.filter(({ isReady, isServing }) => isReady && isServing);
  if (ready.length === 0) return { newOnly: false };
  if (ready.length >= Math.ceil(replicas / 2)) return { newOnly: true };
  // Clients of failing gateways reconnect: too many for the ready ones, before these have reported how full they are.
  const failing = fresh.filter(({ isReady, counted }) => !isReady && (counted?.connections ?? 0) > 0);
  if (failing.length > ready.length) return { newOnly: false, againIn: LOOK_MS };
  const isSo = staying.some(({ isCurrent, isServing }) => !isCurrent && !isServing);
  // No gateway reports its connections: nothing changes.
  if (pods.every(({ counted }) => counted === undefined)) return { newOnly: isSo };
  if (isTooFull(ready, pods, isSo ? TOO_FULL.out : TOO_FULL.in)) return { newOnly: false, againIn: LOOK_MS };
  if (isSo || ready.length >= surge) return { newOnly: true, againIn: LOOK_MS };
  const since = Math.min(...ready.map(({ readySince = now }) => readySince));
  const left = since + WAIT_MS - now;
  return left > 0 ? { newOnly: false, againIn: left } : { newOnly: true, againIn: LOOK_MS };
}

function isTooFull(fresh: readonly GatewayPod[], pods: readonly GatewayPod[], times: number): boolean {
  const mean = meanOf(fresh);
  return mean > FEW && mean > times * meanOf(pods.filter(({ isReady }) => isReady));
}

/** Mean number of connections of the gateways that report them. */
function meanOf(pods: readonly GatewayPod[]): number {
  const counts = pods.flatMap(({ counted }) => counted?.connections ?? []);
  return counts.length === 0 ? 0 : counts.reduce((sum, each) => sum + each, 0) / counts.length;
}
