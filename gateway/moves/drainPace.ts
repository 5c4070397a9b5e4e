import type { MoveTime } from '../ipc/move.ts';
import { Pace } from './pace.ts';

/** One step of leaving: how many to ask now, and how long they have. */
export type Step = MoveTime & { count: number };

/** Kept free at the end for what is still under way (contract: done by timeout − 5 s), milliseconds. */
const SPARE = 5_000;
/** A v1 client gets this long to move, milliseconds: time to join elsewhere, and for the last window to reach it here. */
const MOVE_WITHIN = 8_000;
/** What an item takes besides the window, on its way to a client, milliseconds: bus, hub, shard and network of either gateway. */
const ON_ITS_WAY = 1_000;

/**
 * What a v1 client needs to move and to miss nothing.
 *
 * @param longest the longest merge window of any room, milliseconds
 */
export function moveTime(longest: number): MoveTime {
  return { withinMs: Math.max(MOVE_WITHIN, 3 * longest), overlapMs: longest + ON_ITS_WAY };
}

/**
 * How many connections are asked to leave over time: `rate` a second, or as many more as it takes to have asked
 * everyone early enough before the deadline. Pure: time comes in as an argument.
 */
export class DrainPace {
  readonly #rate: () => number;
  readonly #end: number;
  readonly #timeout: number;
  readonly #longest: () => number;
  readonly #pace: Pace;

  /**
   * @param rate connections a second
   * @param now milliseconds
   * @param timeout milliseconds from now to the end
   * @param longest the longest merge window of any room, milliseconds
   */
  constructor(rate: () => number, now: number, timeout: number, longest: () => number) {
    this.#rate = rate;
    this.#pace = new Pace(now);
    // A short timeout is shared between the pace, the move and the spare time.
    this.#end = now + Math.max(timeout - SPARE, timeout / 2);
    this.#timeout = timeout;
    this.#longest = longest;
  }

  /** Whether the timeout leaves no time for the longest window: who is moved may miss what waits in it. */
  get tooShort(): boolean {
    const { withinMs, overlapMs } = this.#time;
    return withinMs < overlapMs;
  }

  /** When the last connection is made to go. */
  get end(): number {
    return this.#end;
  }

  /** @param unasked connections that were not asked yet */
  step(now: number, unasked: number): Step {
    const time = this.#time;
    const left = Math.max(1, this.#end - time.withinMs - now);
    const rate = Math.max(this.#rate(), (unasked / left) * 1_000);
    return { count: this.#pace.take(now, rate, unasked), ...time };
  }

  get #time(): MoveTime {
    const time = moveTime(this.#longest());
    return { ...time, withinMs: Math.round(Math.max(200, Math.min(time.withinMs, this.#timeout / 4))) };
  }
}
