import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import { isReady } from './observedGateways.ts';

/** Why a pod is not ready, where Kubernetes says so. */
export type NotReadyReason = {
  pod: string;
  why: string;
  /** It does not go away by itself. A node with room may yet come. */
  isStuck: boolean;
};

const State = z.object({
  waiting: z.object({ reason: z.string().default(''), message: z.string().default('') }).exactOptional(),
});
const Container = z.object({
  name: z.string(),
  image: z.string().default(''),
  ready: z.boolean().default(false),
  restartCount: z.number().int().default(0),
  state: State.prefault({}),
  lastState: z
    .object({ terminated: z.object({ reason: z.string().default(''), exitCode: z.number() }).exactOptional() })
    .prefault({}),
});
const Pod = z.object({
  spec: z
    .object({
      volumes: z
        .array(z.object({ persistentVolumeClaim: z.object({ claimName: z.string() }).exactOptional() }))
        .default([]),
    })
    .prefault({}),
  status: z
    .object({
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string().default(''),
            message: z.string().default(''),
          }),
        )
        .default([]),
      containerStatuses: z.array(Container).default([]),
    })
    .prefault({}),
});

/** The kubelet goes from one to the other and back while it tries again. */
const NO_IMAGE = ['ErrImagePull', 'ImagePullBackOff', 'ErrImageNeverPull', 'InvalidImageName', 'ImageInspectError'];
const NO_CONTAINER = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];
/** The scheduler's words where a claim has no volume, or none that a node can reach. */
const OF_VOLUME = /persistent ?volume|volume node affinity|storageclass/i;
/** The first restart comes at once, and helps as a rule. */
const RESTARTS = 2;

/** What keeps a pod from being ready, in words that stay the same while it is tried again. */
export function notReadyReasonOf(pod: KubeObject): NotReadyReason | undefined {
  const { name, deletionTimestamp } = pod.metadata;
  if (deletionTimestamp !== undefined || isReady(pod)) return undefined;
  const { spec, status } = Pod.parse(pod);
  const { conditions, containerStatuses } = status;
  const unplaced = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (unplaced?.reason === 'Unschedulable') {
    const claim = spec.volumes.find(({ persistentVolumeClaim }) => persistentVolumeClaim)?.persistentVolumeClaim;
    const isOfVolume = claim !== undefined && OF_VOLUME.test(unplaced.message);
    const more = isOfVolume ? `: \`kubectl describe pvc ${claim.claimName}\` says why its volume is not there` : '';
    return { pod: name, why: `no node takes it: ${unplaced.message}${more}`, isStuck: false };
  }
  for (const container of containerStatuses) {
    const why = hindering(name, container);
    if (why !== undefined) return { pod: name, why, isStuck: true };
  }
  return undefined;
}

function hindering(pod: string, { name, image, ready, restartCount, state, lastState }: z.infer<typeof Container>) {
  const { reason = '', message = '' } = state.waiting ?? {};
  if (NO_IMAGE.includes(reason)) return `its image ${image} can't be had: \`kubectl describe pod ${pod}\` says why`;
  if (NO_CONTAINER.includes(reason)) return `its container can't be started: ${message || reason}`;
  if (ready || (reason !== 'CrashLoopBackOff' && restartCount < RESTARTS)) return undefined;
  const { terminated } = lastState;
  if (!terminated) return undefined;
  const killed = terminated.reason === 'OOMKilled' ? 'its memory was used up' : `exit code ${terminated.exitCode}`;
  return `it ends again and again (${killed}): \`kubectl logs ${pod} -c ${name} --previous\` says why`;
}
