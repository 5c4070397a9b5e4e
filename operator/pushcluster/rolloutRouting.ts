import { SURGE_PERCENT } from './desired/gateway.ts';
import type { GatewayPod } from './scalePlan.ts';

/** So long all those that come together are waited for, from when the first of them is ready, milliseconds: less than they are held for. */
export const WAIT_MS = 10_000;
/** How often it is looked whether new gateways have become too full, milliseconds. */
const LOOK_MS = 5_000;
/** New gateways that have this many times the average are too full; old ones go again below the second. */
const TOO_FULL = { out: 2, in: 1.5 };
/** With so few connections none is. */
const FEW = 1_000;

export type RolloutRouting = {
  /** New gateways alone are to be chosen by the Service. */
  newOnly: boolean;
  /** Milliseconds after which it may be otherwise, whatever happens. */
  againIn?: number;
};

/**
 * To whom rolloutRouting go in a rollout: to old and new gateways, or to the new ones alone as soon as these can bear it.
 * That is so when as many are ready as a rollout brings at a time, or all that came within 10 s. The old ones serve again
 * where the new ones fail, or become far fuller than others; not any more once the new ones are half of those wanted.
 * @param now milliseconds since 1970
 */
export function rolloutRouting(pods: readonly GatewayPod[], replicas: number, now: number): RolloutRouting {
  const staying = pods.filter(({ drainSince }) => drainSince === undefined);
  const fresh = staying.filter(({ isCurrent }) => isCurrent);
  const ready = fresh.filter(({ isReady, isServing }) => isReady && isServing);
  if (ready.length === 0) return { newOnly: false };
  if (ready.length >= Math.ceil(replicas / 2)) return { newOnly: true };
  // Its people look for another one: more than those that are ready can take, before these have said how full they are.
  const failing = fresh.filter(({ isReady, counted }) => !isReady && (counted?.connections ?? 0) > 0);
  if (failing.length > ready.length) return { newOnly: false, againIn: LOOK_MS };
  const isSo = staying.some(({ isCurrent, isServing }) => !isCurrent && !isServing);
  // Nobody says how many it has: what is so stays so.
  if (pods.every(({ counted }) => counted === undefined)) return { newOnly: isSo };
  if (isTooFull(ready, pods, isSo ? TOO_FULL.out : TOO_FULL.in)) return { newOnly: false, againIn: LOOK_MS };
  if (isSo || ready.length >= Math.ceil((replicas * SURGE_PERCENT) / 100)) return { newOnly: true, againIn: LOOK_MS };
  const since = Math.min(...ready.map(({ readySince = now }) => readySince));
  const left = since + WAIT_MS - now;
  return left > 0 ? { newOnly: false, againIn: left } : { newOnly: true, againIn: LOOK_MS };
}

function isTooFull(fresh: readonly GatewayPod[], pods: readonly GatewayPod[], times: number): boolean {
  const mean = meanOf(fresh);
  return mean > FEW && mean > times * meanOf(pods.filter(({ isReady }) => isReady));
}

/** Of those that say how many they have. */
function meanOf(pods: readonly GatewayPod[]): number {
  const counts = pods.flatMap(({ counted }) => counted?.connections ?? []);
  return counts.length === 0 ? 0 : counts.reduce((sum, each) => sum + each, 0) / counts.length;
}
