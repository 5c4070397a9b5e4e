/** Lines of one kind that may be written at once, and how many a second after that. */
const BURST = 20;
const PER_SECOND = 1;
/** How long after a line was left out its kind is looked at again, so that the last count is told too, milliseconds. */
const LOOK_MS = 2_000;
/** Kinds that are told apart; all others share one. What a line is about never makes a kind, so there are few. */
const MOST_KINDS = 256;
const OTHERS = 'others';

/** Time as the thinning sees it: tests put in their own. */
export type ThinningClock = {
  /** Milliseconds; only differences count. */
  now(): number;
  /** Calls `run` once, later; keeps no process alive. */
  after(ms: number, run: () => void): void;
};

const systemClock: ThinningClock = {
  now: () => performance.now(),
  after: (ms, run) => {
    setTimeout(run, ms).unref();
  },
};

/** Writes how many lines were left out where no other line of the kind comes to say so. */
type Tell = (leftOut: number) => void;
type Kind = { tokens: number; at: number; leftOut: number; tell: Tell };

/**
 * Which lines of a log are written. What happens once for each event that a stranger causes would be a load of its own,
 * and fill a disk: of each kind some are written at once and then one a second, and the next says how many were left out.
 */
export class Thinning {
  readonly #clock: ThinningClock;
  readonly #kinds = new Map<string, Kind>();
  #looks = false;

  constructor(clock: ThinningClock = systemClock) {
    this.#clock = clock;
  }

  /**
   * How many lines of this kind were left out before this one, where this one is to be written; undefined where it is
   * left out too. @param kind by what happened, never by whom it happened to
   */
  admit(kind: string, tell: Tell): number | undefined {
    const known = this.#kind(kind, tell);
    if (!this.#take(known)) {
      known.leftOut++;
      known.tell = tell;
      this.#lookLater();
      return undefined;
    }
    const { leftOut } = known;
    known.leftOut = 0;
    return leftOut;
  }

  #kind(name: string, tell: Tell): Kind {
    const key = this.#kinds.has(name) || this.#kinds.size < MOST_KINDS ? name : OTHERS;
    let kind = this.#kinds.get(key);
    if (!kind) {
      kind = { tokens: BURST, at: this.#clock.now(), leftOut: 0, tell };
      this.#kinds.set(key, kind);
    }
    return kind;
  }

  #take(kind: Kind): boolean {
    const now = this.#clock.now();
    kind.tokens = Math.min(BURST, kind.tokens + ((now - kind.at) / 1_000) * PER_SECOND);
    kind.at = now;
    if (kind.tokens < 1) return false;
    kind.tokens--;
    return true;
  }

  #lookLater() {
    if (this.#looks) return;
    this.#looks = true;
    this.#clock.after(LOOK_MS, () => {
      this.#looks = false;
      for (const kind of this.#kinds.values()) {
        if (kind.leftOut === 0) continue;
        if (this.#take(kind)) {
          kind.tell(kind.leftOut);
          kind.leftOut = 0;
        } else this.#lookLater();
      }
    });
  }
}
