import type { z } from 'zod';
import type { Condition as ConditionSchema } from '../api/kubernetes.ts';
import type { Status } from '../api/pushCluster.ts';
import type { KubeErrorReason } from '../kube/errors.ts';
import type { AutoscalerStatus } from './autoscalerStatus.ts';
import { NEAR_LIMIT } from './displayedNumbers.ts';
import type { Durability } from './historyDurability.ts';
import { plural, someOf } from './plural.ts';
import type { PodStatusSummary, ReportedPod } from './podStatusSummary.ts';
import type { ScalePlan } from './scalePolicy.ts';

export type Condition = z.infer<typeof ConditionSchema>;

/** Numbers of pods of one role. */
export type Pods = {
  wanted: number;
  /** Ready, of any pod template. */
  ready: number;
  /** Ready, and of the current pod template. */
  current: number;
};

/** An object that could not be written, and the error of the API server. */
export type Problem = { object: string; reason: KubeErrorReason; message: string };

export type Observed = {
  /** Generation of the PushCluster that was reconciled. */
  generation: number;
  version: string;
  gateway: Pods & {
    /** Gateways that are not draining. */
    replicas: number;
    draining: number;
    /** All pods. */
    pods: { total: number; ready: number; terminating: number };
    /** Connections of draining gateways; undefined if none has reported them. */
    left: number | undefined;
    connections: number | undefined;
    selector: string;
  };
  logic: Pods;
  /** `wanted` is 0 for external servers. */
  nats: Pods & { url: string };
  problems: readonly Problem[];
  /** Why anyone may connect from outside; undefined if that is not so. */
  exposed?: string | undefined;
  /** Whether histories outlive a restart of NATS; undefined if there are none, or if that is not known. */
  durable?: Durability | undefined;
  /** Why the operator changes nothing now, or no pods. */
  held?: { reason: 'Paused' | 'RolloutWaits'; message: string } | undefined;
  /** What of managed NATS is changed in steps. */
  natsChange?: string | undefined;
  /** The plan for the number of gateways. */
  scaling: Pick<ScalePlan, 'phase' | 'waits'>;
  /** What the autoscalers report of themselves; undefined if there are none. */
  autoscaler?: AutoscalerStatus | undefined;
  summary: Pick<
    PodStatusSummary,
    'refusals' | 'ignored' | 'historyFailures' | 'fdLimits' | 'behind' | 'silent' | 'notReady' | 'fullest'
  >;
  endpoints: NonNullable<Status['endpoints']>;
};

type Role = ReportedPod['role'];
type Verdict = AutoscalerStatus;

/**
 * The status of a cluster. `lastTransitionTime` of a condition changes only with its status.
 * @param before the previous status
 * @param now RFC 3339 with seconds, as the API has it: `2026-01-02T03:04:05Z`
 */
export function statusOf(observed: Observed, before: Status | undefined, now: string): Status {
  const { gateway, logic, nats, generation } = observed;
  const available = availability(observed);
  const degraded = degradation(observed);
  const ready = readiness(observed, available, degraded);
  const verdicts = {
    Ready: ready,
    Available: available,
    Progressing: progress(observed),
    Degraded: degraded.isTrue ? degraded : no('NoProblems', ready.isTrue ? 'no problems' : unexplained(ready)),
    ...(observed.autoscaler ? { Autoscaling: observed.autoscaler } : {}),
    ...(observed.durable ? { HistoryDurable: observed.durable } : {}),
    ...(observed.exposed === undefined ? {} : { Exposed: yes('AnyoneMayConnect', observed.exposed) }),
  };
  return {
    observedGeneration: generation,
    version: observed.version,
    conditions: Object.entries(verdicts).map(([type, verdict]) => condition(type, verdict, generation, before, now)),
    gateway: {
      replicas: gateway.replicas,
      readyReplicas: gateway.ready,
      ready: `${gateway.ready}/${gateway.wanted}`,
      draining: gateway.draining,
      pods: gateway.pods,
      ...(gateway.connections === undefined ? {} : { connections: gateway.connections }),
      selector: gateway.selector,
    },
    logic: podsOf(logic),
    nats: { url: nats.url, ...(nats.wanted === 0 ? {} : podsOf(nats)) },
    endpoints: observed.endpoints,
  };
}

function podsOf({ wanted, ready }: Pick<Pods, 'wanted' | 'ready'>) {
  return { replicas: wanted, readyReplicas: ready, ready: `${ready}/${wanted}` };
}

/** What is known to be wrong while a cluster is not Ready and not Degraded. */
function unexplained({ message }: Verdict): string {
  return `no problem that needs attention is known, but the PushCluster is not Ready: ${message}`;
}

/**
 * Conditions that changed, for events. A new condition counts only if it reports a problem. While a cluster starts, its
 * reasons for not being available change often and are not events.
 */
export function transitions(before: Status | undefined, after: Status): Condition[] {
  return (after.conditions ?? []).filter((each) => {
    const was = before?.conditions?.find(({ type }) => type === each.type);
    // An autoscaler that was made just now has reported nothing.
    if (each.type === 'Autoscaling' && each.reason === 'Starting') return false;
    if (each.type === 'Autoscaling' && was?.reason === 'Starting') return isBad(each);
    if (was) return was.status !== each.status || (was.reason !== each.reason && each.type !== 'Available');
    return TOLD_WHEN_NEW.has(each.type) && each.status === 'True';
  });
}

const TOLD_WHEN_NEW: ReadonlySet<string> = new Set(['Degraded', 'Exposed']);

/** Whether a condition reports a problem. */
export function isBad({ type, status }: Condition): boolean {
  return status === (type === 'Degraded' ? 'True' : 'False') && ['Degraded', 'Available', 'Autoscaling'].includes(type);
}

/** Available: clients can connect and receive pushes. */
function availability({ gateway, logic, nats, summary }: Observed): Verdict {
  if (nats.wanted > 0 && nats.ready <= nats.wanted / 2)
    return no(
      'NatsNotReady',
      [
        `${someOf(nats.ready, nats.wanted, 'NATS server')} are ready: publishing requires more than half of them`,
        ...notReadyNote(summary, 'nats'),
      ].join('; '),
    );
  if (gateway.wanted === 0) return no('ScaledToZero', 'gateway.replicas is 0: clients cannot connect');
  if (logic.wanted === 0) return no('ScaledToZero', 'logic.replicas is 0: publishers cannot push');
  if (gateway.ready === 0)
    return no(
      'NoGatewayReady',
      [`${someOf(0, gateway.wanted, 'gateway')} are ready: clients cannot connect`, ...notReadyNote(summary)].join(
        '; ',
      ),
    );
  if (logic.ready === 0)
    return no(
      'NoLogicReady',
      [`${someOf(0, logic.wanted, 'logic pod')} are ready: publishers cannot push`, ...notReadyNote(summary)].join(
        '; ',
      ),
    );
  const notes = [`${plural(gateway.ready, 'gateway')} and ${plural(logic.ready, 'logic pod')} are ready`];
  const { fullest, silent } = summary;
  if (fullest && fullest.share >= 1) notes.push(`${fullest.pod} rejects new connections: ${FULL_OF[fullest.what]}`);
  else if (fullest)
    notes.push(
      `${fullest.pod} is at ${Math.round(fullest.share * 100)} % of ${SHARE_OF[fullest.what]} at which it rejects new connections`,
    );
  else if (gateway.connections !== undefined && silent.length === 0 && gateway.current >= gateway.wanted)
    notes.push(`all gateways are below ${100 * NEAR_LIMIT} % of their limits`);
  const [first] = silent;
  if (first)
    notes.push(`${plural(silent.length, 'pod')} did not respond to status requests: ${first.pod}: ${first.why}`);
  return yes('Serving', notes.join('; '));
}

const SHARE_OF = {
  memory: 'the memory usage',
  fds: 'the number of open files',
  loop: 'the event loop delay',
};
const FULL_OF = {
  memory: 'its memory is exhausted: increase gateway.resources.limits.memory or gateway.replicas',
  fds: "it has no file descriptors left: increase the node's limit or gateway.replicas",
  loop: 'its event loop is delayed: increase gateway.resources.limits.cpu or gateway.replicas',
};

/** Progressing: the operator or Kubernetes is changing something. */
function progress(observed: Observed): Verdict {
  const { natsChange, problems, held } = observed;
  if (held) return { isTrue: held.reason !== 'Paused', ...held };
  const [leaving, ...others] = problems.filter(isLeaving);
  if (leaving) {
    const more = others.length > 0 ? ` (and ${plural(others.length, 'other object')})` : '';
    return yes(PROBLEM_REASONS.leaving, `waiting for deletion: ${leaving.message}${more}`);
  }
  const pods = podProgress(observed);
  if (natsChange === undefined) return pods ?? no('Stable', 'no changes in progress');
  // It is why pods and servers are not ready.
  return pods ? yes(pods.reason, `${pods.message}; ${natsChange}`) : yes('NatsChanges', natsChange);
}

/** What is changing about pods; undefined if nothing is. */
function podProgress({ gateway, logic, nats, scaling, summary }: Observed): Verdict | undefined {
  const drains = drained(gateway);
  const rolloutWaits = scaling.phase === 'rollout' && scaling.waits !== undefined ? [`waiting: ${scaling.waits}`] : [];
  for (const [what, pods] of [
    ['gateway', gateway],
    ['logic pod', logic],
  ] as const) {
    const verdict = replacement(pods, what, [...drains, ...rolloutWaits, ...notReadyNote(summary)]);
    if (verdict) return verdict;
  }
  if (scaling.phase === 'rollout')
    return yes(
      'RollingOut',
      ['gateways of the previous version are being replaced', ...drains, ...rolloutWaits].join('; '),
    );
  if (scaling.waits !== undefined)
    return yes(
      'ScaleDownWaits',
      [
        `scaling down${gateway.replicas > gateway.wanted ? ` from ${gateway.replicas}` : ''} to ${plural(gateway.wanted, 'gateway')}`,
        ...drains,
        `waiting: ${scaling.waits}`,
      ].join('; '),
    );
  if (drains.length > 0) return yes('Draining', drains.join('; '));
  const servers = replacement(nats, 'NATS server', notReadyNote(summary, 'nats'));
  if (servers) return servers;
  if (scaling.phase === 'rebalancing')
    return yes('Rebalancing', 'gateways with more connections than others move some away and receive no new ones');
  const [first] = summary.behind;
  if (first) {
    const more = summary.behind.length > 1 ? ` and ${summary.behind.length - 1} more` : '';
    return yes('SettingsUnderWay', `${first.pod}${more} ${more ? 'have' : 'has'} not loaded the current settings yet`);
  }
  return undefined;
}

/** What is going on while not all pods are ready and of the current template; undefined if they are. */
function replacement({ wanted, ready, current }: Pods, what: string, notes: readonly string[]): Verdict | undefined {
  if (current >= wanted) return undefined;
  if (ready > current)
    return yes('RollingOut', [`${someOf(current, wanted, what)} are updated and ready`, ...notes].join('; '));
  return yes('Starting', [`${someOf(ready, wanted, what)} are ready`, ...notes].join('; '));
}

/** The first pod that is not ready for a known reason: `live-gateway-x: cannot be scheduled: …`. */
function notReadyNote({ notReady }: Observed['summary'], role?: Role): string[] {
  const [first, ...others] = notReady.filter((each) => role === undefined || each.role === role);
  if (!first) return [];
  const more = others.length > 0 ? ` (and ${plural(others.length, 'other pod')})` : '';
  return [`${first.pod}: ${first.why}${more}`];
}

/** `2 gateways are draining: 1,204 connections left`; empty if there are none. */
function drained({ draining, left }: Observed['gateway']): string[] {
  if (draining === 0) return [];
  const count = left === undefined ? '' : `: ${plural(left, 'connection')} left`;
  return [`${plural(draining, 'gateway')} ${draining === 1 ? 'is' : 'are'} draining${count}`];
}

/** Degraded: something is wrong that does not resolve itself. */
function degradation({ problems, summary }: Observed): Verdict {
  const [problem, ...others] = problems.filter((each) => !isLeaving(each));
  if (problem) {
    const more = others.length > 0 ? ` (and ${plural(others.length, 'other problem')})` : '';
    return yes(PROBLEM_REASONS[problem.reason], `${problem.object}: ${problem.message}${more}`);
  }
  const { refusals, ignored, historyFailures, fdLimits, notReady } = summary;
  const stuck = notReady.filter(({ isStuck }) => isStuck);
  if (stuck.length > 0) return yes('PodsStuck', notReadyNote({ ...summary, notReady: stuck }).join('; '));
  const [refusal] = refusals;
  if (refusal) {
    const message = `${plural(refusals.length, 'pod')} rejected the settings and ${refusals.length === 1 ? 'keeps' : 'keep'} the previous ones: ${refusal.pod}: ${refusal.message}`;
    return yes('SettingsRefused', message);
  }
  const [ignoring] = ignored;
  if (ignoring) {
    const { pod, version, message } = ignoring;
    return yes(
      'SettingsIgnored',
      `${plural(ignored.length, 'pod')} of another version ${ignored.length === 1 ? 'does' : 'do'} not know some settings and ${ignored.length === 1 ? 'ignores' : 'ignore'} them: ${pod} (${version}): ${message}`,
    );
  }
  const [failure] = historyFailures;
  if (failure) {
    const pods = plural(historyFailures.length, 'logic pod');
    return yes('HistoryNotStored', `${pods} cannot set up histories in NATS: ${failure.pod}: ${failure.message}`);
  }
  const [fd] = fdLimits;
  if (fd)
    return yes(
      'FileLimitTooLow',
      `${fd.pod} may open ${fd.limit} files, too few for ${fd.wanted} connections${fd.each === 1 ? '' : ` (${fd.each} files each because of gateway.service.proxyProtocol)`}: increase the node's limit for containers, or reduce gateway.connections.max`,
    );
  return no('NoProblems', 'no problems');
}

/** The object is being deleted: the problem resolves itself. */
function isLeaving({ reason }: Problem): boolean {
  return reason === 'leaving';
}

/** Ready: available, not degraded, and every pod is updated and ready. Draining gateways do not matter. */
function readiness({ gateway, logic, nats, summary }: Observed, available: Verdict, degraded: Verdict): Verdict {
  if (!available.isTrue) return available;
  if (degraded.isTrue) return { ...degraded, isTrue: false };
  if (gateway.current < gateway.wanted) return no('GatewaysNotReady', notReady(gateway, 'gateway', summary));
  if (logic.current < logic.wanted) return no('LogicNotReady', notReady(logic, 'logic pod', summary));
  if (nats.current < nats.wanted) return no('NatsNotReady', notReady(nats, 'NATS server', summary, 'nats'));
  return yes('Ready', available.message);
}

function notReady({ current, wanted }: Pods, what: string, summary: Observed['summary'], role?: Role): string {
  return [`${someOf(current, wanted, what)} are updated and ready`, ...notReadyNote(summary, role)].join('; ');
}

const PROBLEM_REASONS: Record<KubeErrorReason, string> = {
  conflict: 'Conflict',
  taken: 'NameTaken',
  leaving: 'NameLeaving',
  forbidden: 'Forbidden',
  invalid: 'Invalid',
  notFound: 'KindMissing',
  expired: 'Unavailable',
  unavailable: 'Unavailable',
};

function condition(
  type: string,
  verdict: Verdict,
  generation: number,
  before: Status | undefined,
  now: string,
): Condition {
  const { isTrue, reason, message } = verdict;
  const status = isTrue ? 'True' : 'False';
  const was = before?.conditions?.find((each) => each.type === type);
  const lastTransitionTime = was?.status === status ? was.lastTransitionTime : now;
  return { type, status, reason, message: cut(message), observedGeneration: generation, lastTransitionTime };
}

/** The API allows 32 KiB; a readable message is shorter. */
function cut(message: string): string {
  return message.length > 1_024 ? `${message.slice(0, 1_023)}…` : message;
}

function yes(reason: string, message: string): Verdict {
  return { isTrue: true, reason, message };
}

function no(reason: string, message: string): Verdict {
  return { isTrue: false, reason, message };
}
