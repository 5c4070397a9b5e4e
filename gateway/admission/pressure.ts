import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Resource } from '../ipc/resource.ts';

/** Share of a threshold below which a gate opens again. */
const REOPEN = { memory: 0.97, fds: 0.99, loop: 0.5 } as const satisfies Record<Resource, number>;

/** Whether a resource is short: closed from its threshold on, and open again only well below it. */
export class Gate {
  readonly #reopen: number;
  #closed = false;

  constructor(resource: Resource) {
    this.#reopen = REOPEN[resource];
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Takes a new value; true where the gate closed or opened by it. @param threshold 1 or more, but for `loop`: never */
  read(value: number, threshold: number): boolean {
    const before = this.#closed;
    this.#closed = value >= threshold * (before ? this.#reopen : 1);
    return this.#closed !== before;
  }
}

/**
 * How late a loop serves, as a share of what is too late. Of the delay and not of the time that the loop is busy: a
 * gateway that broadcasts on all of a core is busy by design, and still reads and answers between two slices.
 */
export class LoopPressure {
  #lag = 0;

  /** Takes the worst delay of the last second: one alone (a garbage collection) counts half. @returns 0..1 */
  read(lagMs: number, tooLateMs: number): number {
    this.#lag = (this.#lag + lagMs) / 2;
    return tooLateMs === 0 ? 0 : Math.min(1, this.#lag / tooLateMs);
  }
}

/**
 * How many connections short memory leaves room for. Those who are there stay; for each that leaves another may come,
 * since an allocator keeps what it once had and uses it again: a gate by resident memory alone could stay closed for
 * ever. Halfway from the threshold to the limit it is half as many.
 */
export class MemoryCeiling {
  readonly #gate = new Gate('memory');
  #held = 0;

  get closed(): boolean {
    return this.#gate.closed;
  }

  /** @param held connections now @returns connections at most; Infinity: any */
  read(used: number, threshold: number, held: number): number {
    if (threshold >= 1) {
      this.#gate.read(0, threshold);
      return Number.POSITIVE_INFINITY;
    }
    if (this.#gate.read(used, threshold) && this.#gate.closed) this.#held = held;
    if (!this.#gate.closed) return Number.POSITIVE_INFINITY;
    return used >= (1 + threshold) / 2 ? Math.floor(this.#held / 2) : this.#held;
  }
}

/** One line where a gate closed or opened. */
export function logShortage(log: Logger, closed: boolean, resource: Resource, more: object): void {
  if (closed) log.warn({ resource, ...more }, 'running short: new connections are refused, those that are here stay');
  else log.info({ resource, ...more }, 'no longer short: new connections are accepted');
}
