import type { MoveTime } from '../ipc/move.ts';
import { moveTime } from './moveTime.ts';
import { Pacer } from './pacer.ts';

/** One step of a drain: how many connections to ask to move now, and how long they have. */
export type Step = MoveTime & { count: number };

/** Kept free at the end for moves that are still in progress, milliseconds: a drain ends five seconds before its timeout. */
const SPARE_MS = 5_000;

/**
 * How many connections are asked to move over time: `rate` a second, or as many more as it takes to have asked all of
 * them early enough before the deadline. Pure: time comes in as an argument, milliseconds of a monotonic clock.
 */
export class DrainSchedule {
  readonly #rate: () => number;
  readonly #end: number;
  readonly #timeout: number;
  readonly #longest: () => number;
  readonly #pacer: Pacer;

  /**
   * @param rate connections a second
   * @param now milliseconds
   * @param timeout milliseconds from now to the end
   * @param longest the longest merge window of any room, milliseconds
   */
  constructor(rate: () => number, now: number, timeout: number, longest: () => number) {
    this.#rate = rate;
    this.#pacer = new Pacer(now);
    // A short timeout is shared between asking, moving and the spare time.
    this.#end = now + Math.max(timeout - SPARE_MS, timeout / 2);
    this.#timeout = timeout;
    this.#longest = longest;
  }

  /** Whether the timeout is shorter than the longest window: a client that moves may then miss items of that window. */
  get tooShort(): boolean {
    const { withinMs, overlapMs } = this.#time;
    return withinMs < overlapMs;
  }

  /** When the last connection is closed. */
  get end(): number {
    return this.#end;
  }

  /** @param unasked connections that were not asked to move yet */
  step(now: number, unasked: number): Step {
    const time = this.#time;
    const left = Math.max(1, this.#end - time.withinMs - now);
    const rate = Math.max(this.#rate(), (unasked / left) * 1_000);
    return { count: this.#pacer.take(now, rate, unasked), ...time };
  }

  get #time(): MoveTime {
    const time = moveTime(this.#longest());
    return { ...time, withinMs: Math.round(Math.max(200, Math.min(time.withinMs, this.#timeout / 4))) };
  }
}
