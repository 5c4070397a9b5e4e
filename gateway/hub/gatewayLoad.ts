import { TICK_MS } from '@pushcluster/runtime/ticker.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { Load } from './frameBudget.ts';

/** What is measured of a shard. */
export type LoadedShard = {
  readonly counts: ShardCounts | undefined;
  /** Bytes of frames on their way to it. */
  readonly inFlight: number;
};

export type GatewayLoadOptions = {
  shards: readonly LoadedShard[];
  /** Cores that the gateway's processes share. */
  cores: number;
  /** Bytes that may be on their way to a shard. */
  maxInFlight: () => number;
  /** Milliseconds. */
  now: () => number;
};

/** The load of a gateway's processes from one tick to the next. */
export class GatewayLoad {
  readonly #options: GatewayLoadOptions;
  #readAt: number;
  #hubCpu: number | undefined;
  /** The last report of each shard that was read. */
  readonly #reports: (ShardCounts | undefined)[] = [];
  /** Cores that each shard used between its last two reports. */
  readonly #shardCores: number[] = [];

  constructor(options: GatewayLoadOptions) {
    this.#options = options;
    this.#readAt = options.now();
  }

  /** Call it at each tick. @param hub CPU time of this process since its start, microseconds */
  read(hub: { user: number; system: number }): Load {
    const { shards, cores, maxInFlight, now } = this.#options;
    const at = now();
    const ms = Math.max(1, at - this.#readAt);
    this.#readAt = at;
    const cpu = hub.user + hub.system;
    const hubCores = (cpu - (this.#hubCpu ?? cpu)) / 1_000 / ms;
    this.#hubCpu = cpu;
    for (const [i, { counts }] of shards.entries()) this.#readShard(i, counts);
    const all = hubCores + this.#shardCores.reduce((sum, used) => sum + used, 0);
    return {
      busy: Math.max(hubCores, ...this.#shardCores, all / cores),
      lateMs: Math.max(ms - TICK_MS, ...shards.map(({ counts }) => 1_000 * (counts?.loopLag ?? 0))),
      backlog: Math.max(0, ...shards.map(({ inFlight }) => inFlight)) / maxInFlight(),
    };
  }

  #readShard(index: number, counts: ShardCounts | undefined) {
    const before = this.#reports[index];
    this.#reports[index] = counts;
    if (!counts || !before || counts.cpuSeconds < before.cpuSeconds) this.#shardCores[index] = 0;
    else if (counts !== before) {
      const ms = Math.max(1, counts.sentAt - before.sentAt);
      this.#shardCores[index] = (1_000 * (counts.cpuSeconds - before.cpuSeconds)) / ms;
    }
  }
}
