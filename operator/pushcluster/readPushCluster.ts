import { settingsProblems } from '@pushcluster/runtime/settingsProblems.ts';
import { VERSION } from '@pushcluster/runtime/version.ts';
import { PushCluster, Spec, Status } from '../api/pushCluster.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { Condition } from './status.ts';

/** A stored PushCluster that this version of the operator does not understand. */
export type UnreadCluster = {
  metadata: PushCluster['metadata'];
  status: Status;
  /** What it does not understand, a sentence each. */
  problems: readonly string[];
};

const Metadata = PushCluster.shape.metadata;

/**
 * A PushCluster as a reflector has it. The API server validates writes, not what is stored: after a rollback of the CRD, a
 * field may have a value that only the later version knows. An unreadable status counts as none.
 */
export function readPushCluster(object: KubeObject): PushCluster | UnreadCluster {
  const { status, ...rest } = { status: undefined, ...object };
  const known = Status.safeParse(status).data;
  const result = PushCluster.safeParse({ ...rest, ...(known ? { status: known } : {}) }, { reportInput: true });
  if (result.success) return result.data;
  const metadata = Metadata.parse(object.metadata);
  return { metadata, status: known ?? {}, problems: settingsProblems(Spec, result.error.issues) };
}

export function isUnread(cluster: PushCluster | UnreadCluster): cluster is UnreadCluster {
  return 'problems' in cluster;
}

/**
 * The status of a PushCluster that is not understood: as it was, but Degraded and not Ready.
 * @param now RFC 3339 with seconds
 */
export function unreadStatus(cluster: UnreadCluster, now: string): Status {
  const message = `${cluster.problems.join('; ')}: this version of the operator (${VERSION}) does not know that and changes nothing of this PushCluster; upgrade the operator or change the field`;
  return degradedStatus(cluster, { reason: 'NotUnderstood', message }, now);
}

/**
 * The status of a PushCluster whose reconcile has thrown an error that is none of the API server's: as it was, but Degraded
 * and not Ready.
 * @param now RFC 3339 with seconds
 */
export function failedStatus(cluster: Pick<UnreadCluster, 'metadata' | 'status'>, error: unknown, now: string): Status {
  const what = error instanceof Error ? error.message : String(error);
  const message = `the operator (${VERSION}) failed and tries again, which is a bug: ${what}; its log has the details`;
  return degradedStatus(cluster, { reason: 'InternalError', message }, now);
}

function degradedStatus(
  { metadata, status }: Pick<UnreadCluster, 'metadata' | 'status'>,
  { reason, message }: Pick<Condition, 'reason' | 'message'>,
  now: string,
): Status {
  const { generation } = metadata;
  const before = status.conditions ?? [];
  const condition = (type: string, is: 'True' | 'False'): Condition => {
    const was = before.find((each) => each.type === type);
    const lastTransitionTime = was?.status === is ? was.lastTransitionTime : now;
    const why = { reason, message: message.slice(0, 1_024) };
    return { type, status: is, ...why, observedGeneration: generation, lastTransitionTime };
  };
  const others = before.filter(({ type }) => type !== 'Ready' && type !== 'Degraded');
  return {
    ...status,
    observedGeneration: generation,
    conditions: [condition('Ready', 'False'), ...others, condition('Degraded', 'True')],
  };
}
