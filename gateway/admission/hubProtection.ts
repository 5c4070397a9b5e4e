import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { Resource } from '../ipc/resource.ts';
import { LoopPressure } from './loopPressure.ts';
import { MemoryCeiling } from './memoryCeiling.ts';
import type { MemoryUse } from './memoryReader.ts';
import { logShortage, Shortage } from './shortage.ts';

/** Between two measurements, milliseconds: as often as a shard reports. */
const MEASURE_MS = 1_000;
/** A little less, since reports come a little early or late. */
const MEASURE_AFTER_MS = 0.9 * MEASURE_MS;

export type HubProtectionOptions = {
  settings: () => Settings;
  log: Logger;
  /** Memory now. @param resident bytes of gateway and shards */
  memory: (resident: number) => MemoryUse | undefined;
  /** Resident bytes of this process. */
  resident: () => number;
  /** Milliseconds of the clock that gives the shards' `sentAt`. */
  now: () => number;
  /** Called when `short` or `ceiling` has changed, which the shards must know. */
  changed: () => void;
};

/**
 * The hub's part of the overload protection: it measures what no shard can see, the memory of all processes and the hub's
 * own loop, and shows all pressures. What it finds short goes to the shards, which refuse (ShardProtection). It has no
 * timer: it measures when a shard reports. Connections that are open stay, whatever it finds.
 */
export class HubProtection {
  readonly #options: HubProtectionOptions;
  readonly #loopMeter = new LoopPressure();
  readonly #loopShortage = new Shortage('loop');
  readonly #memoryCeiling = new MemoryCeiling();
  #ceiling = Number.POSITIVE_INFINITY;
  #measuredAt = Number.NEGATIVE_INFINITY;
  /** The longest delay with which a report of a shard was read since the last measurement, milliseconds. */
  #lag = 0;
  #memoryPressure: number | undefined;
  #loopPressure = 0;
  #shards: readonly (ShardCounts | undefined)[] = [];

  constructor(options: HubProtectionOptions) {
    this.#options = options;
  }

  /** Connections at most, as far as memory goes; Infinity: any. */
  get ceiling(): number {
    return this.#ceiling;
  }

  /** What the hub found short. */
  get short(): Resource | undefined {
    if (this.#loopShortage.active) return 'loop';
    return this.#memoryCeiling.active ? 'memory' : undefined;
  }

  /**
   * The pressure on each resource, 0 to 1. `fds`: of the fullest shard. `loop`: of the most delayed process. `memory` is absent
   * if it cannot be read.
   */
  get pressure(): Pressure {
    const counts = this.#shards.filter((shard) => shard !== undefined);
    return {
      ...(this.#memoryPressure === undefined ? {} : { memory: Math.min(1, this.#memoryPressure) }),
      fds: Math.max(0, ...counts.map(({ fds, fdLimit }) => Math.min(1, fds / Math.max(1, fdLimit)))),
      loop: Math.max(this.#loopPressure, ...counts.map(({ loopPressure }) => loopPressure)),
    };
  }

  /** Each pressure as a share of the threshold at which new connections are refused, 0 to 1. */
  get thresholdPressure(): Pressure {
    const { memory, fds, loop } = this.pressure;
    const { protection } = this.#options.settings().gateway;
    return {
      ...(memory === undefined ? {} : { memory: Math.min(1, memory / protection.memory) }),
      ...(fds === undefined ? {} : { fds: Math.min(1, fds / protection.fds) }),
      ...(loop === undefined ? {} : { loop }),
    };
  }

  /** A shard has reported. @param sentAt milliseconds, by the shard @param shards the last report of each */
  reported(sentAt: number, shards: readonly (ShardCounts | undefined)[]): void {
    const now = this.#options.now();
    this.#shards = shards;
    this.#lag = Math.max(this.#lag, now - sentAt);
    if (now - this.#measuredAt < MEASURE_AFTER_MS) return;
    this.#measuredAt = now;
    const before = [this.short, this.#ceiling];
    this.#measure();
    if (before[0] !== this.short || before[1] !== this.#ceiling) this.#options.changed();
  }

  #measure() {
    const { settings, log, memory, resident } = this.#options;
    const { protection } = settings().gateway;
    const held = this.#shards.reduce((sum, counts) => sum + (counts?.connections ?? 0), 0);
    this.#loopPressure = this.#loopMeter.read(this.#lag, protection.loopLag);
    if (this.#loopShortage.read(this.#loopPressure, 1))
      logShortage(log, this.#loopShortage.active, 'loop', {
        lagMs: Math.round(this.#lag),
        limitMs: protection.loopLag,
      });
    this.#lag = 0;
    const use = memory(resident() + this.#shards.reduce((sum, counts) => sum + (counts?.rss ?? 0), 0));
    this.#memoryPressure = use && use.used / use.limit;
    const before = this.#ceiling;
    this.#ceiling = this.#memoryCeiling.read(this.#memoryPressure ?? 0, protection.memory, held);
    if (use && before !== this.#ceiling)
      logShortage(log, this.#memoryCeiling.active, 'memory', {
        ...use,
        ...(this.#memoryCeiling.active ? { keeps: this.#ceiling } : {}),
      });
  }
}
