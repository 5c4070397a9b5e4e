import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import type { KubeObject } from '../kube/objects.ts';
import { STALE_MS } from '../podStatus/podStatusPoller.ts';
import { type NotReadyReason, notReadyReasonOf } from './notReadyReason.ts';
import type { Readings } from './observedGateways.ts';
import { isReady, readySince } from './observedGateways.ts';

/** A pod that refused the current settings and keeps the previous ones. */
export type SettingsRefusal = { pod: string; message: string };

/** A pod of another version that ignores some of the settings. */
export type IgnoredSettings = { pod: string; version: string; message: string };

/** A summary of what the pods of a cluster report. */
export type PodStatusSummary = {
  /** Sum over all gateways that report them; undefined if none does. */
  connections: number | undefined;
  /** Every ready gateway has been polled at least once. */
  isCounted: boolean;
  /** Connections of draining gateways. */
  left: number | undefined;
  refusals: readonly SettingsRefusal[];
  ignored: readonly IgnoredSettings[];
  /** Logic pods that cannot set up the histories of rooms, and why. */
  historyFailures: readonly { pod: string; message: string }[];
  fdLimits: readonly { pod: string; limit: number; wanted: number; each: number }[];
  /** Pods that have neither loaded nor refused the current settings. */
  behind: readonly { uid: string; pod: string }[];
  /** Pods that have been ready for a while and do not respond, and why. */
  silent: readonly { pod: string; why: string }[];
  /** Pods of the current template that are not ready for a known reason; first those that do not resolve themselves. */
  notReady: readonly (NotReadyReason & { role: ReportedPod['role'] })[];
  /** The gateway that is closest to a limit at which it refuses new connections. */
  fullest: { pod: string; what: keyof Pressure; share: number } | undefined;
};

export type ReportedPod = {
  pod: KubeObject;
  role: 'gateway' | 'logic' | 'nats';
  /** It is draining or terminating. */
  isLeaving: boolean;
  /** It has the current template. Others are about to be replaced, and may not understand new settings. */
  isCurrent: boolean;
};

export type ExpectedStatus = {
  /** gateway.connections.max; 0 means as many as file descriptors allow. */
  maxConnections: number;
  /** File descriptors that a connection uses. */
  filesEach: number;
  /** Hash of the settings file that a pod should have loaded, if it were of this generation. */
  settingsFile: (role: 'gateway' | 'logic', generation: number) => string;
};

/**
 * @param readings the last status of each pod
 * @param now milliseconds since 1970
 * @param unmounted why pods wait for volumes, by uid
 */
export function summarizePodStatus(
  pods: Iterable<ReportedPod>,
  readings: Readings,
  wanted: ExpectedStatus,
  now: number,
  unmounted: ReadonlyMap<string, NotReadyReason>,
): PodStatusSummary {
  let connections: number | undefined;
  let left: number | undefined;
  const refusals: SettingsRefusal[] = [];
  const ignored: IgnoredSettings[] = [];
  const historyFailures: PodStatusSummary['historyFailures'][number][] = [];
  const fdLimits: PodStatusSummary['fdLimits'][number][] = [];
  const behind: PodStatusSummary['behind'][number][] = [];
  const silent: PodStatusSummary['silent'][number][] = [];
  const notReady: PodStatusSummary['notReady'][number][] = [];
  let fullest: PodStatusSummary['fullest'];
  let isCounted = true;
  for (const { pod, role, isLeaving, isCurrent } of pods) {
    const { uid = '', name } = pod.metadata;
    // Which pods of logic and NATS have the current template is not known during a rollout.
    const isWanted = !isLeaving && (isCurrent || role !== 'gateway');
    const reason = isWanted ? (notReadyReasonOf(pod) ?? unmounted.get(uid)) : undefined;
    if (reason) notReady.push({ ...reason, role });
    if (role === 'nats') continue;
    const reading = readings.freshReading(uid);
    if (!reading) {
      const why = readings.failure(uid);
      if (why === undefined && role === 'gateway' && isReady(pod)) isCounted = false;
      if (why !== undefined && now - (readySince(pod) ?? now) >= STALE_MS && !isLeaving)
        silent.push({ pod: name, why });
      continue;
    }
    const { status } = reading;
    if (status.connections !== undefined) {
      connections = (connections ?? 0) + status.connections;
      if (isLeaving) left = (left ?? 0) + status.connections;
    }
    if (isLeaving || !isCurrent) continue;
    const { refused, file, generation } = status.settings;
    if (status.settings.ignored !== undefined)
      ignored.push({ pod: name, version: status.version, message: status.settings.ignored });
    if (status.historyFailed !== undefined) historyFailures.push({ pod: name, message: status.historyFailed });
    if (refused !== undefined) refusals.push({ pod: name, message: refused });
    else if (file !== wanted.settingsFile(role, generation)) behind.push({ uid, pod: name });
    if (role === 'gateway' && status.fds.limit < wanted.maxConnections * wanted.filesEach)
      fdLimits.push({ pod: name, limit: status.fds.limit, wanted: wanted.maxConnections, each: wanted.filesEach });
    for (const what of ['memory', 'fds', 'loop'] as const) {
      const share = status.pressure[what];
      if (role === 'gateway' && share !== undefined && share > (fullest?.share ?? 0))
        fullest = { pod: name, what, share };
    }
  }
  notReady.sort((a, b) => Number(b.isStuck) - Number(a.isStuck) || (a.pod < b.pod ? -1 : 1));
  return {
    connections,
    isCounted,
    left,
    refusals,
    ignored,
    historyFailures,
    fdLimits,
    behind,
    silent,
    notReady,
    fullest,
  };
}
