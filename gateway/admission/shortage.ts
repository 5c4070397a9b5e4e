import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Resource } from '../ipc/resource.ts';

/** A shortage ends below this share of the threshold at which it began. */
const ENDS_AT = { memory: 0.97, fds: 0.99, loop: 0.5 } as const satisfies Record<Resource, number>;

/** Whether a resource is short: from a threshold of its pressure on, until the pressure is well below it again. */
export class Shortage {
  readonly #endsAt: number;
  #active = false;

  constructor(resource: Resource) {
    this.#endsAt = ENDS_AT[resource];
  }

  get active(): boolean {
    return this.#active;
  }

  /**
   * Takes a new pressure. True if a shortage begins or ends with it.
   * @param threshold pressure from which the resource is short. If its setting of 1 means no limit, the caller passes a
   * pressure of 0 (MemoryCeiling) or a threshold of its own (ShardProtection).
   */
  read(pressure: number, threshold: number): boolean {
    const before = this.#active;
    this.#active = pressure >= threshold * (before ? this.#endsAt : 1);
    return this.#active !== before;
  }
}

/** Logs that a shortage began or ended. */
export function logShortage(log: Logger, active: boolean, resource: Resource, more: object): void {
  if (active)
    log.warn({ resource, ...more }, 'running short of a resource: new connections are refused, open connections stay');
  else log.info({ resource, ...more }, 'no longer short of the resource: new connections are accepted');
}
