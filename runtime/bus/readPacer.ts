import type { Clock } from '../clock.ts';
import { PACE_MS, Pace } from '../pace.ts';

/**
 * Reads a busy connection less often: after a read, nothing is read for PACE_MS while many messages come (Pace). What a
 * turn of the loop has to read is read whole, so that pauses limit no throughput.
 */
export class ReadPacer {
  readonly #socket: { pause(): unknown; resume(): unknown };
  readonly #clock: Pick<Clock, 'now' | 'after' | 'soon'>;
  readonly #pace = new Pace();
  #scheduled = false;

  constructor(socket: { pause(): unknown; resume(): unknown }, clock: Pick<Clock, 'now' | 'after' | 'soon'>) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /** Messages were read. */
  received(messages: number): void {
    const mayGather = this.#pace.handled(messages, this.#clock.now());
    if (this.#scheduled || !mayGather) return;
    this.#scheduled = true;
    // At the end of the turn, in which more may be read.
    this.#clock.soon(() => {
      this.#scheduled = false;
      this.#socket.pause();
      this.#clock.after(PACE_MS, () => this.#socket.resume());
    });
  }
}
