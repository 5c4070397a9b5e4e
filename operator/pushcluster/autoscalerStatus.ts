import { z } from 'zod';
import type { PushCluster } from '../api/pushCluster.ts';
import type { KubeObject, Ref } from '../kube/objects.ts';
import { scalerNames } from './desired/autoscalers.ts';

/** What the autoscalers of a cluster report of themselves, as the condition Autoscaling. */
export type AutoscalerStatus = { isTrue: boolean; reason: string; message: string };

const Condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().default(''),
  message: z.string().default(''),
});
const Autoscaler = z.object({
  spec: z.object({ minReplicas: z.number().default(1), maxReplicas: z.number() }),
  status: z.object({ conditions: z.array(Condition).nullish() }).prefault({}),
});
const ScaledObject = z.object({ status: z.object({ conditions: z.array(Condition).nullish() }).prefault({}) });

/** What happened to the autoscaler, the worst first. */
const RANKS = ['failed', 'starting', 'limited', 'working'] as const;
type Found = AutoscalerStatus & { rank: (typeof RANKS)[number] };

/** The worst that the autoscalers of a cluster report; undefined if it has none. */
export function autoscalerStatus(
  cluster: PushCluster,
  cache: { made(ref: Ref): KubeObject | undefined },
): AutoscalerStatus | undefined {
  const { namespace } = cluster.metadata;
  const made = (apiVersion: string, kind: string, name: string) =>
    cache.made({ apiVersion, kind, metadata: { name, namespace } });
  const found = scalerNames(cluster).map(({ autoscaler, scaledObject, field }) => {
    const ofKeda =
      scaledObject === undefined
        ? undefined
        : scaledObjectProblem(made('keda.sh/v1alpha1', 'ScaledObject', scaledObject), scaledObject);
    return ofKeda ?? reported(made('autoscaling/v2', 'HorizontalPodAutoscaler', autoscaler), autoscaler, field);
  });
  const [worst] = found.sort((a, b) => RANKS.indexOf(a.rank) - RANKS.indexOf(b.rank));
  if (!worst) return undefined;
  const { isTrue, reason, message } = worst;
  return { isTrue, reason, message };
}

/** @param field the field of the PushCluster that it was made from, such as `gateway.autoscaling` */
function reported(object: unknown, name: string, field: string): Found {
  const title = `HorizontalPodAutoscaler ${name}`;
  const { data } = Autoscaler.safeParse(object);
  const conditions = data?.status.conditions ?? [];
  if (!data || conditions.length === 0) {
    const message = `${title} ${data ? 'has not reported its state yet' : 'does not exist yet'}`;
    return { rank: 'starting', isTrue: false, reason: 'Starting', message };
  }
  for (const type of ['AbleToScale', 'ScalingActive']) {
    const failed = conditions.find((each) => each.type === type && each.status === 'False');
    if (!failed) continue;
    return { rank: 'failed', isTrue: false, reason: failed.reason || type, message: `${title}: ${failed.message}` };
  }
  const { minReplicas, maxReplicas } = data.spec;
  const isLimited = conditions.some(
    ({ type, status, reason }) => type === 'ScalingLimited' && status === 'True' && reason === 'TooManyReplicas',
  );
  if (isLimited) {
    const message = `${title} needs more than ${field}.maxReplicas, ${maxReplicas}`;
    return { rank: 'limited', isTrue: true, reason: AT_MAXIMUM, message };
  }
  return {
    rank: 'working',
    isTrue: true,
    reason: 'Active',
    message: `${title} scales from ${minReplicas} to ${maxReplicas}`,
  };
}

/** The reason of a condition Autoscaling while more would be needed than allowed. */
export const AT_MAXIMUM = 'AtMaximum';

/** What KEDA reports of a ScaledObject, if that is a problem. */
function scaledObjectProblem(object: unknown, name: string): Found | undefined {
  const conditions = ScaledObject.safeParse(object).data?.status.conditions ?? [];
  const title = `ScaledObject ${name}`;
  const has = (type: string, status: string) => conditions.find((each) => each.type === type && each.status === status);
  const unready = has('Ready', 'False');
  const fallback = has('Fallback', 'True');
  if (unready)
    return {
      rank: 'failed',
      isTrue: false,
      reason: unready.reason || 'NotReady',
      message: `${title}: ${unready.message}`,
    };
  if (fallback)
    return {
      rank: 'failed',
      isTrue: false,
      reason: 'Fallback',
      message: `${title} has no metrics: ${fallback.message}`,
    };
  return undefined;
}
