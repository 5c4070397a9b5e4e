import { backgroundClock, type Clock } from './clock.ts';
import { TokenBucket } from './tokenBucket.ts';

/** Lines of one kind that are written at once, and how many a second after that. */
const LIMIT = { rate: 1, burst: 20 };
/** After this long (milliseconds) the count of suppressed lines is written even if no other line of their kind comes. */
const REPORT_MS = 2_000;
/** Kinds with a limit of their own. All further kinds share one. */
const MAX_KINDS = 256;
const OTHERS = 'others';

/** Writes how many lines were suppressed. */
type Report = (suppressed: number) => void;
type Kind = { bucket: TokenBucket; suppressed: number; report: Report };

/**
 * Decides which lines of a log are written. Clients cause many of the events that are logged, so they could fill a disk or
 * slow a process down. Of each kind of line a burst is written, then one a second, which says how many were suppressed.
 */
export class LogRateLimit {
  readonly #clock: Pick<Clock, 'now' | 'after'>;
  readonly #kinds = new Map<string, Kind>();
  #scheduled = false;

  constructor(clock: Pick<Clock, 'now' | 'after'> = backgroundClock) {
    this.#clock = clock;
  }

  /**
   * @param kind what happened, never to whom: there must be few kinds
   * @returns how many lines of this kind were suppressed before this one, or undefined if this one is suppressed too
   */
  admit(kind: string, report: Report): number | undefined {
    const known = this.#kind(kind, report);
    if (!this.#take(known)) {
      known.suppressed++;
      known.report = report;
      this.#reportLater();
      return undefined;
    }
    const { suppressed } = known;
    known.suppressed = 0;
    return suppressed;
  }

  #kind(name: string, report: Report): Kind {
    const key = this.#kinds.has(name) || this.#kinds.size < MAX_KINDS ? name : OTHERS;
    let kind = this.#kinds.get(key);
    if (!kind) {
      kind = { bucket: new TokenBucket(LIMIT, this.#clock.now()), suppressed: 0, report };
      this.#kinds.set(key, kind);
    }
    return kind;
  }

  #take(kind: Kind): boolean {
    return kind.bucket.take(this.#clock.now()) === 0;
  }

  #reportLater() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.after(REPORT_MS, () => {
      this.#scheduled = false;
      for (const kind of this.#kinds.values()) {
        if (kind.suppressed === 0) continue;
        if (this.#take(kind)) {
          kind.report(kind.suppressed);
          kind.suppressed = 0;
        } else this.#reportLater();
      }
    });
  }
}
