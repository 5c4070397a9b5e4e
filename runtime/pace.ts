/** Time between two wake-ups while many messages come, milliseconds. */
export const PACE_MS = 4;
/** Messages that must come in this time: with fewer, each is handled as it comes. */
const WORTH = 8;
/** The time over which the rate of messages is averaged, milliseconds. */
const AVERAGED_MS = 20;

/**
 * Decides whether messages are to be handled together. To be woken for one small message costs a process many times as
 * much as the message. So from WORTH messages in PACE_MS on, a process lets them gather for PACE_MS. Below that rate, and
 * at the first message after a quiet time, nothing waits. The rate does not depend on what is decided, so that it cannot
 * swing. Pure: time comes in as an argument, milliseconds.
 */
export class Pace {
  /** Messages in the last AVERAGED_MS: those of before count less and less. */
  #recent = 0;
  #at = Number.NEGATIVE_INFINITY;

  /** Messages were handled together. True if those that follow may gather. */
  handled(messages: number, now: number): boolean {
    this.#recent = this.#recent * Math.exp((this.#at - now) / AVERAGED_MS) + messages;
    this.#at = now;
    return (this.#recent * PACE_MS) / AVERAGED_MS >= WORTH;
  }
}
