import type { Loop } from './loop.ts';

/**
 * Milliseconds of a turn of the loop after which the hub and the broadcasts are served in the middle of it; and for so long, so
 * that the turn takes twice as long at most.
 */
const LONG_MS = 4;

export type LongTurnOptions = {
  loop: Pick<Loop, 'now' | 'soon'>;
  /** Reads what the hub has sent, and goes on with the broadcasts for `ms`. */
  serve: (ms: number) => void;
};

/**
 * In one turn of the loop the engine hands over all that has come: a thousand handshakes take it 60 ms, in which nobody would
 * be sent anything. So the hub and the broadcasts are served between two events of the engine, every LONG_MS of such a turn.
 */
export class LongTurn {
  readonly #options: LongTurnOptions;
  /** Since when nothing was served in this turn; undefined before its first event. */
  #since: number | undefined;
  #serving = false;

  constructor(options: LongTurnOptions) {
    this.#options = options;
  }

  /** An event of the engine has been handled. Don't call it for those that this process brings about, such as a close. */
  handled(): void {
    if (this.#serving) return;
    const { loop, serve } = this.#options;
    const now = loop.now();
    if (this.#since === undefined) {
      this.#since = now;
      loop.soon(() => {
        this.#since = undefined;
      });
    }
    if (now - this.#since < LONG_MS) return;
    this.during(() => serve(LONG_MS));
    this.#since = loop.now();
  }

  /** Handles what the hub has sent: nothing more is served meanwhile. */
  during(handle: () => void): void {
    this.#serving = true;
    try {
      handle();
    } finally {
      this.#serving = false;
    }
  }
}
