import { createHash } from 'node:crypto';
import { FILES_BEHIND_PROXY_PROTOCOL } from '@pushcluster/protocol/settings.ts';
import type { PushCluster } from '../api/pushCluster.ts';
import { managedNats } from './desired/bus.ts';
import type { Images } from './desired/context.ts';
import { selectorLabels } from './desired/names.ts';
import { settingsText } from './desired/settings.ts';
import type { Readings } from './fleet.ts';
import type { View } from './observe.ts';
import { type ReportedPod, type Reports, reportsOf } from './reports.ts';
import type { Fleet, Plan } from './scale.ts';
import { COARSE_MS, coarseConnections, coarsePressure, type Observed, type Problem } from './status.ts';

/** How often the connections of what drains are told anew, milliseconds. */
const LEFT_MS = 10_000;

/**
 * What the pods of a cluster say of themselves.
 * @param now milliseconds since 1970
 */
export function reports(view: View, cluster: PushCluster, fleet: Fleet, readings: Readings, now: number): Reports {
  const current = new Map(fleet.pods.map((pod) => [pod.uid, pod]));
  const isLogicCurrent = view.isLogicCurrent(cluster);
  const pods: ReportedPod[] = [];
  for (const pod of view.pods(cluster, 'gateway')) {
    const known = current.get(pod.metadata.uid ?? '');
    const isLeaving = known === undefined || known.drainSince !== undefined;
    pods.push({ pod, role: 'gateway', isLeaving, isCurrent: fleet.isSettled && known?.isCurrent === true });
  }
  for (const pod of view.pods(cluster, 'logic')) {
    const isLeaving = pod.metadata.deletionTimestamp !== undefined;
    pods.push({ pod, role: 'logic', isLeaving, isCurrent: isLogicCurrent });
  }
  // Of one that is on its way out nothing is told.
  if (managedNats(cluster) !== undefined)
    for (const pod of view.pods(cluster, 'nats'))
      pods.push({ pod, role: 'nats', isLeaving: pod.metadata.deletionTimestamp !== undefined, isCurrent: true });
  const files = new Map<string, string>();
  const settingsFile = (role: 'gateway' | 'logic', generation: number) => {
    const id = `${role} ${generation}`;
    const hash = files.get(id) ?? sha256(settingsText(cluster, role, generation));
    files.set(id, hash);
    return hash;
  };
  const { connections, service } = cluster.spec.gateway;
  const filesEach = service.proxyProtocol ? FILES_BEHIND_PROXY_PROTOCOL : 1;
  return reportsOf(pods, readings, { maxConnections: connections.max, filesEach, settingsFile }, now);
}

/** What is shown of numbers that never rest, and since when: milliseconds by a clock that never goes back. */
export type Shown = {
  at: number;
  connections: number | undefined;
  fullest: Reports['fullest'];
  leftAt: number;
  left: number | undefined;
};

/** What to show now. */
export function shown(before: Shown | undefined, reports: Reports, now: number): Shown {
  const { connections, isCounted, fullest, left } = reports;
  const pressure = coarsePressure(fullest);
  const isLeftDue = !before || now - before.leftAt >= LEFT_MS || (left ?? 0) === 0 || before.left === undefined;
  const drain = isLeftDue ? { leftAt: now, left } : { leftAt: before.leftAt, left: before.left };
  // A part of them is no number to show for 30 s.
  if (!isCounted)
    return before ? { ...before, ...drain } : { at: now, connections: undefined, fullest: pressure, ...drain };
  if (!before || before.connections === undefined || connections === undefined)
    return { at: now, connections, fullest: pressure, ...drain };
  const age = now - before.at;
  const count = coarseConnections({ connections: before.connections, age }, connections);
  const isFuller = age >= COARSE_MS && pressure?.share !== before.fullest?.share;
  if (count === before.connections && !isFuller) return { ...before, ...drain };
  return { at: now, connections: count, fullest: pressure, ...drain };
}

/** Milliseconds after which other numbers are to be shown, where these have to stand a while yet; nobody tells then. */
export function outdatedIn(numbers: Shown, reports: Reports, now: number): number | undefined {
  const due = { ...numbers, at: now - COARSE_MS };
  const next = shown(due, reports, now);
  if (next.connections === numbers.connections && next.fullest?.share === numbers.fullest?.share) return undefined;
  return Math.max(0, numbers.at + COARSE_MS - now);
}

/** All that the status tells of. */
export function observation(
  view: View,
  cluster: PushCluster,
  images: Images,
  found: { fleet: Fleet; planned: Plan; reports: Reports; shown: Shown; problems: readonly Problem[] },
): Observed {
  const { fleet, planned, reports, shown } = found;
  const serving = fleet.pods.filter(({ drainSince }) => drainSince === undefined);
  const ready = serving.filter(({ isReady }) => isReady);
  const draining = fleet.pods.length - serving.length;
  const ending = [...view.pods(cluster, 'gateway')].filter(({ metadata }) => metadata.deletionTimestamp).length;
  return {
    ...view.observed(cluster, images),
    gateway: {
      wanted: cluster.spec.gateway.replicas,
      ready: ready.length,
      current: fleet.isSettled ? ready.filter(({ isCurrent }) => isCurrent).length : 0,
      replicas: Math.max(0, planned.replicas - draining),
      draining: draining + ending,
      left: shown.left,
      connections: shown.connections,
      // All of them, those too that the Service may not choose: an HPA that does not see what draining or over-full
      // gateways hold asks for too few.
      selector: Object.entries(selectorLabels(cluster, 'gateway'))
        .map(([name, value]) => `${name}=${value}`)
        .join(','),
    },
    scaling: planned,
    reports: { ...reports, fullest: shown.fullest },
    problems: found.problems,
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
