import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';

/** Counts and logs messages of the bus that this version can't read. They are ignored. */
export class IgnoredMessages {
  readonly #log: Logger;
  readonly #metrics: Pick<GatewayMetrics, 'undecodable'>;

  constructor(log: Logger, metrics: Pick<GatewayMetrics, 'undecodable'>) {
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Decodes a message; undefined if `decode` throws. */
  decode<T>(bytes: Uint8Array, decode: (bytes: Uint8Array) => T): T | undefined {
    try {
      return decode(bytes);
    } catch (error) {
      this.ignore(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  ignore(reason: string): void {
    this.#metrics.undecodable.inc();
    this.#log.warn({ reason }, 'bus message ignored');
  }
}
