import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';

/**
 * Delay of a reconcile after a change of numbers, milliseconds: they change with each status, and reconciling takes
 * time.
 */
const NUMBERS_WAIT_MS = 5_000;
/** A change of connections counts if it exceeds both this share and this number. */
const SHARE = 0.05;
const CONNECTIONS = 20;
/** A change of pressure counts above `from`, in steps of `step`. */
const PRESSURE = { from: 0.8, step: 0.05 };
/** Maximum number of pods in memory. The status of any other pod triggers a reconcile. */
const MAX_PODS = 20_000;

type Known = { state: string; connections: number; pressure: number };

/** Decides which changes of the status of a pod trigger a reconcile of its PushCluster. */
export class ReconcileTrigger {
  readonly #known = new Map<string, Known>();

  /**
   * Milliseconds after which the PushCluster of a pod is to be reconciled; undefined if nothing relevant has changed.
   */
  delayAfter(uid: string, status: PodStatus): number | undefined {
    const before = this.#known.get(uid);
    const now = knownOf(status);
    if (before?.state === now.state && !isDifferent(before, now)) return undefined;
    this.#known.delete(uid);
    this.#known.set(uid, now);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_PODS) break;
      this.#known.delete(oldest);
    }
    return before?.state === now.state ? NUMBERS_WAIT_MS : 0;
  }

  /** Forgets a pod that does not respond: its next status triggers a reconcile. */
  forget(uid: string): void {
    this.#known.delete(uid);
  }
}

function knownOf({ settings, fds, draining, connections = 0, pressure }: PodStatus): Known {
  const most = Math.max(pressure.memory ?? 0, pressure.fds ?? 0, pressure.loop ?? 0);
  return {
    state: JSON.stringify([settings.file, settings.refused, settings.ignored, fds.limit, draining, connections === 0]),
    connections,
    pressure: most < PRESSURE.from ? 0 : Math.floor(most / PRESSURE.step),
  };
}

function isDifferent(before: Known, now: Known): boolean {
  const by = Math.abs(now.connections - before.connections);
  return (by >= CONNECTIONS && by > SHARE * before.connections) || now.pressure !== before.pressure;
}
