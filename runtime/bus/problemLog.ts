import { type Clock, systemClock } from '../clock.ts';

/** The same problem is logged again after this long, milliseconds. */
const REPEAT_MS = 30_000;
/** Problems that are remembered. */
const MAX_REMEMBERED = 64;

/** Limits how often a problem is logged that recurs at every attempt or message. */
export class ProblemLog {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #loggedAt = new Map<string, number>();

  constructor(clock: Pick<Clock, 'now'> = systemClock) {
    this.#clock = clock;
  }

  /** Calls `log` unless it was called for `problem` a moment ago. */
  report(problem: string, log: () => void): void {
    const now = this.#clock.now();
    const last = this.#loggedAt.get(problem);
    if (last !== undefined && now - last < REPEAT_MS) return;
    if (this.#loggedAt.size >= MAX_REMEMBERED) this.#loggedAt.clear();
    this.#loggedAt.set(problem, now);
    log();
  }

  /** The problems are over: each is logged at once if it comes back. */
  reset(): void {
    this.#loggedAt.clear();
  }
}
