import type { Clock } from '../clock.ts';

/** After a read nothing is read for this long, milliseconds, while many messages come. */
export const PAUSE_MS = 4;
/** Messages that a pause must be worth: with fewer, each is read as it comes. */
const WORTH = 8;
/** The time over which the rate of messages is averaged, milliseconds. */
const AVERAGED_MS = 20;

/**
 * Reads a busy connection less often. To be woken for one small message costs a process and those that it passes the
 * message on to many times as much as the message. So from WORTH messages in PAUSE_MS on, the next read comes PAUSE_MS
 * after the last, and finds several. Below that rate, and at the first message after a quiet time, nothing waits. The rate
 * does not depend on the pauses, so that they cannot swing. What a turn of the loop has to read is read whole: pauses
 * limit no throughput.
 */
export class ReadPacer {
  readonly #socket: { pause(): unknown; resume(): unknown };
  readonly #clock: Pick<Clock, 'now' | 'after' | 'soon'>;
  /** Messages in the last AVERAGED_MS: those of before count less and less. */
  #recent = 0;
  #at = Number.NEGATIVE_INFINITY;
  #scheduled = false;

  constructor(socket: { pause(): unknown; resume(): unknown }, clock: Pick<Clock, 'now' | 'after' | 'soon'>) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /** Messages were read. */
  received(messages: number): void {
    const now = this.#clock.now();
    this.#recent = this.#recent * Math.exp((this.#at - now) / AVERAGED_MS) + messages;
    this.#at = now;
    if (this.#scheduled || (this.#recent * PAUSE_MS) / AVERAGED_MS < WORTH) return;
    this.#scheduled = true;
    // At the end of the turn, in which more may be read.
    this.#clock.soon(() => {
      this.#scheduled = false;
      this.#socket.pause();
      this.#clock.after(PAUSE_MS, () => this.#socket.resume());
    });
  }
}
