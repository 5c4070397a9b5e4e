import type { z } from 'zod';
import type { Condition as ConditionSchema } from '../api/kubernetes.ts';
import type { Status } from '../api/pushCluster.ts';
import type { KubeErrorReason } from '../kube/errors.ts';
import { NEAR_LIMIT } from './displayedNumbers.ts';
import type { PodStatusSummary, ReportedPod } from './podStatusSummary.ts';
import type { ScalePlan } from './scalePlan.ts';

export type Condition = z.infer<typeof ConditionSchema>;

/** Pods of one role: how many are wanted, and how they are. */
export type Pods = {
  wanted: number;
  /** Ready, of whatever template. */
  ready: number;
  /** Of the newest template, and ready. */
  current: number;
};

/** An object that could not be applied, and what the API server said. */
export type Problem = { object: string; reason: KubeErrorReason; message: string };

/** A pod that runs older settings than it should, since it refused them. */
export type SettingsRefusal = { pod: string; message: string };

export type Observed = {
  /** Of the PushCluster whose objects were applied. */
  generation: number;
  version: string;
  gateway: Pods & {
    /** Those that don't drain. */
    replicas: number;
    draining: number;
    /** Connections of those that drain; undefined where none says so. */
    left: number | undefined;
    connections: number | undefined;
    selector: string;
  };
  logic: Pods;
  /** `wanted` 0: an external one. */
  nats: { url: string; wanted: number; ready: number };
  problems: readonly Problem[];
  /** What is done about the number of gateways. */
  scaling: Pick<ScalePlan, 'phase' | 'waits'>;
  summary: Pick<PodStatusSummary, 'refusals' | 'fdLimits' | 'behind' | 'silent' | 'notReady' | 'fullest'>;
  endpoints: NonNullable<Status['endpoints']>;
};

type Role = ReportedPod['role'];
type Verdict = { isTrue: boolean; reason: string; message: string };

/**
 * The status of a cluster. A condition keeps the time of its last change.
 * @param before the status until now
 * @param now seconds as the API has them: `2026-01-02T03:04:05Z`
 */
export function statusOf(observed: Observed, before: Status | undefined, now: string): Status {
  const { gateway, logic, nats, generation } = observed;
  const available = availability(observed);
  const degraded = degradation(observed);
  const verdicts = {
    Ready: readiness(observed, available, degraded),
    Available: available,
    Progressing: progress(observed),
    Degraded: degraded,
  };
  return {
    observedGeneration: generation,
    version: observed.version,
    conditions: Object.entries(verdicts).map(([type, verdict]) => condition(type, verdict, generation, before, now)),
    gateway: {
      replicas: gateway.replicas,
      readyReplicas: gateway.ready,
      draining: gateway.draining,
      ...(gateway.connections === undefined ? {} : { connections: gateway.connections }),
      selector: gateway.selector,
    },
    logic: { replicas: logic.wanted, readyReplicas: logic.ready },
    nats: nats.wanted === 0 ? { url: nats.url } : { url: nats.url, replicas: nats.wanted, readyReplicas: nats.ready },
    endpoints: observed.endpoints,
  };
}

/**
 * Conditions that are now other than before, for events. Those that are new count where they say something bad; what is
 * not available yet is not worth a warning for each part that is still to come.
 */
export function transitions(before: Status | undefined, after: Status): Condition[] {
  return (after.conditions ?? []).filter((each) => {
    const was = before?.conditions?.find(({ type }) => type === each.type);
    if (was) return was.status !== each.status || (was.reason !== each.reason && each.type !== 'Available');
    return each.type === 'Degraded' && each.status === 'True';
  });
}

/** Whether people get pushes. */
function availability({ gateway, logic, nats, summary }: Observed): Verdict {
  if (nats.wanted > 0 && nats.ready <= nats.wanted / 2)
    return no(
      'NatsNotReady',
      [
        `${nats.ready} of ${nats.wanted} NATS servers are ready: pushes need more than half of them`,
        ...hindered(summary, 'nats'),
      ].join('; '),
    );
  if (gateway.wanted === 0) return no('ScaledToZero', "gateway.replicas is 0: clients can't connect");
  if (logic.wanted === 0) return no('ScaledToZero', "logic.replicas is 0: pushes can't be made");
  if (gateway.ready === 0)
    return no(
      'NoGatewayReady',
      [`none of ${some(gateway.wanted, 'gateway')} is ready: clients can't connect`, ...hindered(summary)].join('; '),
    );
  if (logic.ready === 0)
    return no(
      'NoLogicReady',
      [`none of ${some(logic.wanted, 'logic pod')} is ready: pushes can't be made`, ...hindered(summary)].join('; '),
    );
  const notes = [`${some(gateway.ready, 'gateway')} and ${some(logic.ready, 'logic pod')} are ready`];
  const { fullest, silent } = summary;
  if (fullest && fullest.share >= 1) notes.push(`${fullest.pod} refuses new connections: ${FULL_OF[fullest.what]}`);
  else if (fullest)
    notes.push(
      `${fullest.pod} is at ${Math.round(fullest.share * 100)} % of ${SHARE_OF[fullest.what]} from where on it refuses connections`,
    );
  else if (gateway.connections !== undefined && silent.length === 0 && gateway.current >= gateway.wanted)
    notes.push(`no gateway is at ${100 * NEAR_LIMIT} % of what it can bear`);
  const [first] = silent;
  if (first) notes.push(`${some(silent.length, 'pod')} did not say how it is when asked: ${first.pod}: ${first.why}`);
  return yes('Serving', notes.join('; '));
}

const SHARE_OF = { memory: 'the memory', fds: 'the open files', loop: "the event loop's delay" };
const FULL_OF = {
  memory: 'its memory is used up: raise gateway.resources.limits.memory or gateway.replicas',
  fds: "its open files are used up: raise the node's limit or gateway.replicas",
  loop: 'its event loop is late: raise gateway.resources.limits.cpu or gateway.replicas',
};

/** Whether something is under way. */
function progress({ gateway, logic, nats, scaling, summary, problems }: Observed): Verdict {
  const [leaving, ...others] = problems.filter(isLeaving);
  if (leaving) {
    const more = others.length > 0 ? ` (and ${some(others.length, 'other object')})` : '';
    return yes(PROBLEM_REASONS.leaving, `waits for its name: ${leaving.message}${more}`);
  }
  const drains = drained(gateway);
  for (const [what, pods] of [
    ['gateway', gateway],
    ['logic pod', logic],
  ] as const) {
    if (pods.current >= pods.wanted) continue;
    const message = `${pods.current} of ${some(pods.wanted, what)} are of the newest version and ready`;
    const more = [...drains, ...hindered(summary)];
    if (pods.ready > pods.current) return yes('RollingOut', [message, ...more].join('; '));
    return yes('Starting', [`${pods.ready} of ${some(pods.wanted, what)} are ready`, ...more].join('; '));
  }
  if (scaling.phase === 'rollout')
    return yes('RollingOut', ['the gateways of the former version go', ...drains].join('; '));
  if (scaling.waits !== undefined)
    return yes(
      'ScaleDownWaits',
      [`${gateway.wanted} of ${gateway.replicas} gateways are to stay`, ...drains, `waits: ${scaling.waits}`].join(
        '; ',
      ),
    );
  if (drains.length > 0) return yes('Draining', drains.join('; '));
  if (nats.ready < nats.wanted) return yes('Starting', natsNotReady(nats, summary));
  if (scaling.phase === 'rebalancing')
    return yes('Rebalancing', 'gateways that are fuller than the others give connections away, and take no new ones');
  const [first] = summary.behind;
  if (first) {
    const more = summary.behind.length > 1 ? ` and ${summary.behind.length - 1} more` : '';
    return yes('SettingsUnderWay', `${first.pod}${more} ${more ? 'have' : 'has'} yet to take up the newest settings`);
  }
  return no('Stable', 'nothing is under way');
}

/** `live-gateway-x: no node takes it: …`, where a pod that is wanted is not ready and it is known why. */
function hindered({ notReady }: Observed['summary'], role?: Role): string[] {
  const [first, ...others] = notReady.filter((each) => role === undefined || each.role === role);
  if (!first) return [];
  const more = others.length > 0 ? ` (and ${some(others.length, 'other pod')})` : '';
  return [`${first.pod}: ${first.why}${more}`];
}

/** `2 gateways drain: 1,204 connections left`, where any does. */
function drained({ draining, left }: Observed['gateway']): string[] {
  if (draining === 0) return [];
  const count = left === undefined ? '' : `: ${some(left, 'connection')} left`;
  return [`${some(draining, 'gateway')} ${draining === 1 ? 'drains' : 'drain'}${count}`];
}

/** Whether something is wrong that does not go away by itself. */
function degradation({ problems, summary }: Observed): Verdict {
  const [problem, ...others] = problems.filter((each) => !isLeaving(each));
  if (problem) {
    const more = others.length > 0 ? ` (and ${some(others.length, 'other problem')})` : '';
    return yes(PROBLEM_REASONS[problem.reason], `${problem.object}: ${problem.message}${more}`);
  }
  const { refusals, fdLimits, notReady } = summary;
  const stuck = notReady.filter(({ isStuck }) => isStuck);
  if (stuck.length > 0) return yes('PodsStuck', hindered({ ...summary, notReady: stuck }).join('; '));
  const [refusal] = refusals;
  if (refusal) {
    const message = `${some(refusals.length, 'pod')} refused the settings and ${refusals.length === 1 ? 'runs' : 'run'} the former ones: ${refusal.pod}: ${refusal.message}`;
    return yes('SettingsRefused', message);
  }
  const [fd] = fdLimits;
  if (fd)
    return yes(
      'FileLimitTooLow',
      `${fd.pod} may open ${fd.limit} files and is to hold ${fd.wanted} connections${fd.each === 1 ? '' : ` (${fd.each} files each, because of service.proxyProtocol)`}: raise the node's limit for containers, or lower gateway.connections.max`,
    );
  return no('AsWanted', 'everything is as wanted');
}

/** It goes away by itself. */
function isLeaving({ reason }: Problem): boolean {
  return reason === 'leaving';
}

/** Whether all is as wanted: what drains beside that doesn't matter. */
function readiness({ gateway, logic, nats, summary }: Observed, available: Verdict, degraded: Verdict): Verdict {
  if (!available.isTrue) return available;
  if (degraded.isTrue) return { ...degraded, isTrue: false };
  if (gateway.current < gateway.wanted) return no('GatewaysNotReady', notReady(gateway, 'gateway', summary));
  if (logic.current < logic.wanted) return no('LogicNotReady', notReady(logic, 'logic pod', summary));
  if (nats.ready < nats.wanted) return no('NatsNotReady', natsNotReady(nats, summary));
  return yes('Ready', available.message);
}

function notReady({ current, wanted }: Pods, what: string, summary: Observed['summary']): string {
  return [`${current} of ${some(wanted, what)} are up to date and ready`, ...hindered(summary)].join('; ');
}

function natsNotReady({ ready, wanted }: Observed['nats'], summary: Observed['summary']): string {
  return [`${ready} of ${some(wanted, 'NATS server')} are ready`, ...hindered(summary, 'nats')].join('; ');
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

/** The API's own limit is 32 KiB; nobody reads that. */
function cut(message: string): string {
  return message.length > 1_024 ? `${message.slice(0, 1_023)}…` : message;
}

export function some(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
}

function yes(reason: string, message: string): Verdict {
  return { isTrue: true, reason, message };
}

function no(reason: string, message: string): Verdict {
  return { isTrue: false, reason, message };
}
