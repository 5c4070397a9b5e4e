import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { Resource } from '../ipc/resource.ts';
import type { MemoryUse } from './memoryUse.ts';
import { Gate, LoopPressure, logShortage, MemoryCeiling } from './pressure.ts';

/** Between two looks at memory, milliseconds: as often as a shard reports. */
const LOOK_MS = 1_000;
/** A little less, since reports come a little early or late. */
const LOOK_AFTER_MS = 0.9 * LOOK_MS;

export type ProtectionOptions = {
  settings: () => Settings;
  log: Logger;
  /** Memory now. @param resident bytes of gateway and shards */
  memory: (resident: number) => MemoryUse | undefined;
  /** Resident bytes of this process. */
  resident: () => number;
  /** Milliseconds of a clock that the shards' `sentAt` is of too. */
  now: () => number;
  /** What shards must know has changed. */
  changed: () => void;
};

/**
 * The hub's part of the protection: it looks at what shards can't see, the memory of all together and its own loop, and
 * shows all pressures. It has no timer: it looks where a shard reports. Those who are connected stay, whatever it finds.
 */
export class Protection {
  readonly #options: ProtectionOptions;
  readonly #loop = new LoopPressure();
  readonly #loopGate = new Gate('loop');
  readonly #memory = new MemoryCeiling();
  #ceiling = Number.POSITIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** The latest of the shards' reports since the last look, milliseconds. */
  #lag = 0;
  #memoryUsed: number | undefined;
  #hubLoop = 0;
  #shards: readonly (ShardCounts | undefined)[] = [];

  constructor(options: ProtectionOptions) {
    this.#options = options;
  }

  /** Connections at most, as far as memory goes; Infinity: any. */
  get ceiling(): number {
    return this.#ceiling;
  }

  /** What is short by the hub's own look. */
  get short(): Resource | undefined {
    if (this.#loopGate.closed) return 'loop';
    return this.#memory.closed ? 'memory' : undefined;
  }

  /** How much is used of each, of the fullest shard where it is a shard's. */
  get pressure(): Pressure {
    const counts = this.#shards.filter((shard) => shard !== undefined);
    return {
      ...(this.#memoryUsed === undefined ? {} : { memory: Math.min(1, this.#memoryUsed) }),
      fds: Math.max(0, ...counts.map(({ fds, fdLimit }) => Math.min(1, fds / Math.max(1, fdLimit)))),
      loop: Math.max(this.#hubLoop, ...counts.map(({ loopPressure }) => loopPressure)),
    };
  }

  /** How near each is to where new connections are refused, 0 to 1. */
  get nearness(): Pressure {
    const { memory, fds, loop } = this.pressure;
    const { protection } = this.#options.settings().gateway;
    return {
      ...(memory === undefined ? {} : { memory: Math.min(1, memory / protection.memory) }),
      ...(fds === undefined ? {} : { fds: Math.min(1, fds / protection.fds) }),
      ...(loop === undefined ? {} : { loop }),
    };
  }

  /** A shard has reported. @param shards the last report of each */
  heard(sentAt: number, shards: readonly (ShardCounts | undefined)[]): void {
    const now = this.#options.now();
    this.#shards = shards;
    this.#lag = Math.max(this.#lag, now - sentAt);
    if (now - this.#lookedAt < LOOK_AFTER_MS) return;
    this.#lookedAt = now;
    const before = [this.short, this.#ceiling];
    this.#look();
    if (before[0] !== this.short || before[1] !== this.#ceiling) this.#options.changed();
  }

  #look() {
    const { settings, log, memory, resident } = this.#options;
    const { protection } = settings().gateway;
    const held = this.#shards.reduce((sum, counts) => sum + (counts?.connections ?? 0), 0);
    this.#hubLoop = this.#loop.read(this.#lag, protection.loopLag);
    if (this.#loopGate.read(this.#hubLoop, 1))
      logShortage(log, this.#loopGate.closed, 'loop', { lagMs: Math.round(this.#lag), limitMs: protection.loopLag });
    this.#lag = 0;
    const use = memory(resident() + this.#shards.reduce((sum, counts) => sum + (counts?.rss ?? 0), 0));
    this.#memoryUsed = use && use.used / use.limit;
    const before = this.#ceiling;
    this.#ceiling = this.#memory.read(this.#memoryUsed ?? 0, protection.memory, held);
    if (use && before !== this.#ceiling)
      logShortage(log, this.#memory.closed, 'memory', {
        ...use,
        ...(this.#memory.closed ? { keeps: this.#ceiling } : {}),
      });
  }
}
