import { backgroundClock, type Clock } from './clock.ts';
import { TokenBucket } from './tokenBucket.ts';

/** Lines of one kind that may be written at once, and how many a second after that. */
const LIMIT = { rate: 1, burst: 20 };
/** How long after a line was left out its kind is looked at again, so that the last count is told too, milliseconds. */
const LOOK_MS = 2_000;
/** Kinds that are told apart; all others share one. What a line is about never makes a kind, so there are few. */
const MOST_KINDS = 256;
const OTHERS = 'others';

/** Writes how many lines were left out where no other line of the kind comes to say so. */
type Tell = (leftOut: number) => void;
type Kind = { bucket: TokenBucket; leftOut: number; tell: Tell };

/**
 * Which lines of a log are written. What happens once for each event that a stranger causes would be a load of its own,
 * and fill a disk: of each kind some are written at once and then one a second, and the next says how many were left out.
 */
export class Thinning {
  readonly #clock: Pick<Clock, 'now' | 'after'>;
  readonly #kinds = new Map<string, Kind>();
  #looks = false;

  constructor(clock: Pick<Clock, 'now' | 'after'> = backgroundClock) {
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
      kind = { bucket: new TokenBucket(LIMIT, this.#clock.now()), leftOut: 0, tell };
      this.#kinds.set(key, kind);
    }
    return kind;
  }

  #take(kind: Kind): boolean {
    return kind.bucket.take(this.#clock.now()) === 0;
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
