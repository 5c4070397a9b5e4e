import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';

/** Numbers that move are looked at this late, milliseconds: they move with each reading, and a look costs milliseconds. */
const NUMBERS_WAIT_MS = 5_000;
/** Connections have changed where both are passed. */
const SHARE = 0.05;
const CONNECTIONS = 20;
/** From here on the pressure on a gateway counts, in steps of so much. */
const PRESSURE = { from: 0.8, step: 0.05 };
/** Pods that are remembered; what another one says is always news. */
const MAX_PODS = 20_000;

type Told = { state: string; connections: number; pressure: number };

/** Tells which of what pods say is worth a look at their cluster. */
export class ReconcileTrigger {
  readonly #told = new Map<string, Told>();

  /** Milliseconds after which the cluster of a pod is to be looked at; undefined where it says what it said before. */
  delayAfter(uid: string, status: PodStatus): number | undefined {
    const before = this.#told.get(uid);
    const now = toldBy(status);
    if (before?.state === now.state && !isOther(before, now)) return undefined;
    this.#told.delete(uid);
    this.#told.set(uid, now);
    for (const oldest of this.#told.keys()) {
      if (this.#told.size <= MAX_PODS) break;
      this.#told.delete(oldest);
    }
    return before?.state === now.state ? NUMBERS_WAIT_MS : 0;
  }

  /** A pod gives no answer, and the status may say so: its next one is news, whatever it says. */
  forget(uid: string): void {
    this.#told.delete(uid);
  }
}

function toldBy({ settings, fds, draining, connections = 0, pressure }: PodStatus): Told {
  const most = Math.max(pressure.memory ?? 0, pressure.fds ?? 0, pressure.loop ?? 0);
  return {
    state: JSON.stringify([settings.file, settings.refused, fds.limit, draining, connections === 0]),
    connections,
    pressure: most < PRESSURE.from ? 0 : Math.floor(most / PRESSURE.step),
  };
}

function isOther(before: Told, now: Told): boolean {
  const by = Math.abs(now.connections - before.connections);
  return (by >= CONNECTIONS && by > SHARE * before.connections) || now.pressure !== before.pressure;
}
