import { TokenBucket } from './tokenBucket.ts';

/** Lines a second: enough to see who and why, few enough that a broken backend doesn't fill the disk. */
const LINES_PER_SECOND = 10;

export type RefusalLevel = 'info' | 'warn' | 'error';

/** What it needs of a log. */
export type RefusalLog = { isLevelEnabled(level: RefusalLevel): boolean } & Record<
  RefusalLevel,
  (fields: object, message: string) => void
>;

/** The log of what was refused, thinned out: a line says how many before it were left out. */
export class Refusals {
  readonly #log: RefusalLog;
  readonly #lines: TokenBucket;
  #leftOut = 0;

  constructor(log: RefusalLog, now?: () => number) {
    this.#log = log;
    this.#lines = new TokenBucket(LINES_PER_SECOND, now);
  }

  add(level: RefusalLevel, fields: object, message: string) {
    if (!this.#log.isLevelEnabled(level)) return;
    if (this.#lines.take() > 0) {
      this.#leftOut++;
      return;
    }
    this.#log[level](this.#leftOut > 0 ? { ...fields, leftOut: this.#leftOut } : fields, message);
    this.#leftOut = 0;
  }
}
