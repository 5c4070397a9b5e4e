import type { ShardMessage } from '../ipc/messages.ts';

/**
 * Smaller amounts wait for the next report, so that a frame of a quiet room costs no message of its own. A sixteenth of the
 * smallest `shardWatch.maxInFlight`.
 */
const REPORT_BYTES = 65_536;

/**
 * Flow control between hub and shard: tells the hub how many bytes of frames this shard has sent or skipped. The hub stops
 * sending while more than `shardWatch.maxInFlight` bytes are not reported.
 */
export class HubCredit {
  readonly #notifyHub: (message: ShardMessage) => void;
  /** Bytes that are still to be reported. */
  #bytes = 0;

  constructor(notifyHub: (message: ShardMessage) => void) {
    this.#notifyHub = notifyHub;
  }

  /** `bytes` of a frame are done with. They are reported at once if they are many, or else with the next report. */
  done(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= REPORT_BYTES) this.report();
  }

  /** Reports what is still to be reported. Call it with each report of counts. */
  report(): void {
    if (this.#bytes === 0) return;
    this.#notifyHub({ type: 'done', bytes: this.#bytes });
    this.#bytes = 0;
  }
}
