import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import type { KubeObject } from '../kube/objects.ts';
import { STALE_MS } from '../podStatus/poller.ts';
import { type NotReadyReason, notReadyReasonOf } from './notReadyReason.ts';
import type { Readings } from './observedGateways.ts';
import { isReady, readySince } from './observedGateways.ts';
import type { SettingsRefusal } from './status.ts';

/** What the pods of a cluster say of themselves, taken together. */
export type PodStatusSummary = {
  /** Of all gateways that say so; undefined where none does. */
  connections: number | undefined;
  /** Every gateway that is ready was asked for its connections. */
  isCounted: boolean;
  /** Connections of gateways that drain. */
  left: number | undefined;
  refusals: readonly SettingsRefusal[];
  fdLimits: readonly { pod: string; limit: number; wanted: number; each: number }[];
  /** Pods that run other settings than the newest, and say nothing against them. */
  behind: readonly { uid: string; pod: string }[];
  /** Pods that have been ready for a while and don't answer, and why. */
  silent: readonly { pod: string; why: string }[];
  /** Pods of the wanted template that aren't ready, where Kubernetes says why: first those that stay so. */
  notReady: readonly (NotReadyReason & { role: ReportedPod['role'] })[];
  /** The gateway that is nearest to where it refuses new connections. */
  fullest: { pod: string; what: keyof Pressure; share: number } | undefined;
};

export type ReportedPod = {
  pod: KubeObject;
  role: 'gateway' | 'logic' | 'nats';
  /** It drains, or was told to end. */
  isLeaving: boolean;
  /** Of the template that is wanted now: others are on their way out, and needn't understand new settings. */
  isCurrent: boolean;
};

export type ExpectedStatus = {
  /** gateway.connections.max; 0: as many as descriptors allow. */
  maxConnections: number;
  /** Files that a connection takes. */
  filesEach: number;
  /** Hash of the settings file that a pod should run, were it of this generation. */
  settingsFile: (role: 'gateway' | 'logic', generation: number) => string;
};

/**
 * @param readings what each pod said last
 * @param now milliseconds since 1970
 */
export function summarizePodStatus(
  pods: Iterable<ReportedPod>,
  readings: Readings,
  wanted: ExpectedStatus,
  now: number,
): PodStatusSummary {
  let connections: number | undefined;
  let left: number | undefined;
  const refusals: SettingsRefusal[] = [];
  const fdLimits: PodStatusSummary['fdLimits'][number][] = [];
  const behind: PodStatusSummary['behind'][number][] = [];
  const silent: PodStatusSummary['silent'][number][] = [];
  const notReady: PodStatusSummary['notReady'][number][] = [];
  let fullest: PodStatusSummary['fullest'];
  let isCounted = true;
  for (const { pod, role, isLeaving, isCurrent } of pods) {
    const { uid = '', name } = pod.metadata;
    // While logic is rolled out nobody says which of its pods are the new ones, nor of NATS, one by one.
    const isWanted = !isLeaving && (isCurrent || role !== 'gateway');
    const reason = isWanted ? notReadyReasonOf(pod) : undefined;
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
  return { connections, isCounted, left, refusals, fdLimits, behind, silent, notReady, fullest };
}
