import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { HubMessage } from '../ipc/messages.ts';
import { AddressLimit } from './addressLimit.ts';
import { ConnectionAllowances } from './connectionAllowances.ts';
import { HubProtection } from './hubProtection.ts';
import { MemoryReader } from './memoryReader.ts';

/** What admission needs of a shard. */
export type AdmittingShard = {
  readonly index: number;
  readonly counts: ShardCounts | undefined;
  send(message: HubMessage): void;
};

export type AdmissionControlOptions = {
  /** All shards, listening or not. Their number does not change. */
  shards: readonly AdmittingShard[];
  settings: () => Settings;
  log: Logger;
};

/**
 * The limits that span all shards of a gateway, which no shard can know by itself: `connections.max`, connections per
 * address, and the overload protection. Shards refuse; this tells them when.
 */
export class AdmissionControl {
  readonly #options: AdmissionControlOptions;
  readonly #addressLimit = new AddressLimit();
  readonly #allowances: ConnectionAllowances;
  readonly #protection: HubProtection;

  constructor(options: AdmissionControlOptions) {
    const { shards, settings, log } = options;
    this.#options = options;
    this.#allowances = new ConnectionAllowances(shards.length);
    const memory = new MemoryReader();
    this.#protection = new HubProtection({
      settings,
      log,
      memory: (resident) => memory.read(resident),
      resident: () => process.memoryUsage.rss(),
      now: systemClock.now,
      changed: () => {
        for (const shard of shards) this.#tellShortage(shard);
      },
    });
  }

  /** As HubProtection.pressure. */
  get pressure(): Pressure {
    return this.#protection.pressure;
  }

  /** As HubProtection.thresholdPressure. */
  get thresholdPressure(): Pressure {
    return this.#protection.thresholdPressure;
  }

  /** A new process of a shard listens. */
  started(shard: AdmittingShard): void {
    this.#allowances.started(shard.index);
    this.share();
    this.#tellShortage(shard);
  }

  /** A shard has reported. */
  reported(index: number, counts: ShardCounts): void {
    this.#allowances.reported(index, counts.connections, counts.allowanceGeneration);
    this.#protection.reported(
      counts.sentAt,
      this.#options.shards.map((shard) => shard.counts),
    );
    this.share();
  }

  /** The process of a shard is gone, with all its connections. */
  died(index: number): void {
    this.#addressLimit.forget(index);
    this.#allowances.died(index);
  }

  /** A shard asks whether `ip` may open one more connection. The answer carries its number `ask`. */
  admit(shard: AdmittingShard, ip: string, ask: number): void {
    const { perIp } = this.#options.settings().gateway.connections;
    const admitted = this.#addressLimit.admit(shard.index, ip, perIp > 0 ? perIp : Number.POSITIVE_INFINITY);
    shard.send({ type: 'admitted', ask, refused: !admitted });
  }

  /** A connection of `ip` that was admitted is closed. */
  released(shard: AdmittingShard, ip: string): void {
    this.#addressLimit.release(shard.index, ip);
  }

  /** Shares `connections.max` among the shards, or less if memory is short. Sends only what has changed. */
  share(): void {
    const { max } = this.#options.settings().gateway.connections;
    const limit = Math.min(max === 0 ? Number.POSITIVE_INFINITY : max, this.#protection.ceiling);
    for (const [i, allowance] of this.#allowances.share(limit).entries())
      if (allowance) this.#options.shards[i]?.send({ type: 'allowance', ...allowance });
  }

  #tellShortage(shard: AdmittingShard) {
    shard.send({ type: 'short', resource: this.#protection.short });
  }
}
