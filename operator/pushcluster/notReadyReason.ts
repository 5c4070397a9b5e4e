import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import { isReady } from './observedGateways.ts';

/** Why a pod is not ready, as reported by Kubernetes. */
export type NotReadyReason = {
  pod: string;
  why: string;
  /** It does not resolve itself. A pod that cannot be scheduled may: a node may be added. */
  isStuck: boolean;
};

/** Containers of the operator, one in each pod. Others are from a pod template. */
const OWN = ['gateway', 'logic', 'nats'];

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
      initContainerStatuses: z.array(Container).default([]),
      containerStatuses: z.array(Container).default([]),
    })
    .prefault({}),
});

/** The kubelet alternates between these while it retries. */
const NO_IMAGE = ['ErrImagePull', 'ImagePullBackOff', 'ErrImageNeverPull', 'InvalidImageName', 'ImageInspectError'];
const NO_CONTAINER = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];
/** How the scheduler reports a claim without a volume, or with one that no node can mount. */
const OF_VOLUME = /persistent ?volume|volume node affinity|storageclass/i;
/** Restarts that are reported. The first one follows at once, and usually succeeds. */
const RESTARTS = 2;

/** Why a pod is not ready. The text does not change while Kubernetes retries, so that the status does not either. */
export function notReadyReasonOf(pod: KubeObject): NotReadyReason | undefined {
  const { name, deletionTimestamp } = pod.metadata;
  if (deletionTimestamp !== undefined || isReady(pod)) return undefined;
  const { spec, status } = Pod.parse(pod);
  const { conditions, initContainerStatuses, containerStatuses } = status;
  const unscheduled = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (unscheduled?.reason === 'Unschedulable') {
    const claim = spec.volumes.find(({ persistentVolumeClaim }) => persistentVolumeClaim)?.persistentVolumeClaim;
    const isOfVolume = claim !== undefined && OF_VOLUME.test(unscheduled.message);
    const more = isOfVolume ? `; see \`kubectl describe pvc ${claim.claimName}\` for its volume` : '';
    return { pod: name, why: `cannot be scheduled: ${unscheduled.message}${more}`, isStuck: false };
  }
  for (const container of [...initContainerStatuses, ...containerStatuses]) {
    const why = containerReason(name, container);
    if (why !== undefined) return { pod: name, why, isStuck: true };
  }
  return undefined;
}

/** Whether the kubelet of a pod has it, but it has no volumes and no network yet. */
export function isMounting(pod: KubeObject): boolean {
  if (pod.metadata.deletionTimestamp !== undefined || isReady(pod)) return false;
  const { conditions } = Pod.parse(pod).status;
  return conditions.some(({ type, status }) => type === 'PodReadyToStartContainers' && status === 'False');
}

function containerReason(
  pod: string,
  { name, image, ready, restartCount, state, lastState }: z.infer<typeof Container>,
) {
  const { reason = '', message = '' } = state.waiting ?? {};
  const title = OWN.includes(name) ? 'the container' : `the container ${name}`;
  if (NO_IMAGE.includes(reason)) return `image ${image} cannot be pulled: see \`kubectl describe pod ${pod}\``;
  if (NO_CONTAINER.includes(reason)) return `${title} cannot be started: ${message || reason}`;
  if (ready || (reason !== 'CrashLoopBackOff' && restartCount < RESTARTS)) return undefined;
  const { terminated } = lastState;
  if (!terminated) return undefined;
  const killed = terminated.reason === 'OOMKilled' ? 'out of memory' : `exit code ${terminated.exitCode}`;
  return `${title} keeps terminating (${killed}): see \`kubectl logs ${pod} -c ${name} --previous\``;
}
