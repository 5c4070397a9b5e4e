import type { Stat } from '@pushcluster/protocol/control.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';

/** Milliseconds for which pushes wait for the reports of gateways after the bus was connected. They come within some. */
const WITHIN_MS = 500;
/** Epochs that are remembered. */
const MAX_EPOCHS = 1_000;

export type GatewayReportsOptions = {
  /** Asks every gateway for a report. */
  ask: () => void;
  /** Names of the gateways that are there, as far as this process knows. */
  gateways: () => readonly string[];
  clock?: Clock;
};

/**
 * How far gateways have followed the histories of rooms, by their reports. A process that has just started, or was away,
 * learns by them that a stream lacks what it had: the stream itself knows nothing of it once it was set back.
 */
export class GatewayReports {
  readonly #options: GatewayReportsOptions;
  #reached: ReadonlyMap<string, number> = new Map();
  /** Gateways that have yet to report since the bus was connected. */
  #missing = new Set<string>();
  #arriving: { promise: Promise<void>; end: () => void } | undefined;

  constructor(options: GatewayReportsOptions) {
    this.#options = options;
  }

  /** Resolves when all have reported since the bus was connected, or have had the time to; undefined if that is so. */
  get arriving(): Promise<void> | undefined {
    return this.#arriving?.promise;
  }

  /** By epoch, the largest sequence number that a gateway has seen. What comes later does not change it. */
  get reached(): ReadonlyMap<string, number> {
    return this.#reached;
  }

  /** Call when the bus is connected. */
  connected(): void {
    const { ask, gateways, clock = systemClock } = this.#options;
    this.#arriving?.end();
    const { promise, resolve } = Promise.withResolvers<void>();
    const arriving = {
      promise,
      end: () => {
        cancel();
        if (this.#arriving === arriving) this.#arriving = undefined;
        resolve();
      },
    };
    const cancel = clock.after(WITHIN_MS, arriving.end);
    this.#arriving = arriving;
    // Where none is known, any may be there.
    this.#missing = new Set(gateways());
    ask();
  }

  /** A gateway has reported. */
  hear({ gateway, histories }: Pick<Stat, 'gateway' | 'histories'>): void {
    const reached = new Map(this.#reached);
    for (const [epoch, seq] of Object.entries(histories)) {
      const before = reached.get(epoch) ?? 0;
      // As the last one.
      reached.delete(epoch);
      reached.set(epoch, Math.max(before, seq));
    }
    while (reached.size > MAX_EPOCHS) reached.delete(reached.keys().next().value!);
    this.#reached = reached;
    if (this.#missing.delete(gateway) && this.#missing.size === 0) this.#arriving?.end();
  }
}
