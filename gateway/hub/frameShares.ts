/** How long demand is added up, milliseconds. */
const PERIOD_MS = 1_000;
/** Demand is sorted into powers of two, microseconds: up to 2 ** 31 - 1, which is 36 minutes of CPU time in a period. */
const SIZES = 32;
const MOST = 2 ** 31 - 1;
/** Within a period the share is computed again whenever demand has risen by this factor. */
const STEP = 1.1;
/** From one period to the next the share rises by no more than this factor. */
const RISE = 4;
/** A share that would rise by less than this factor stays. */
const DEAD_BAND = 1.25;
/** The share of a channel that is not limited, cores: all of the busiest one. */
const UNLIMITED = 1;

/** What a channel has demanded in a period. */
export type Account = {
  /** The period that `demand` is of. */
  period: number;
  /** Microseconds. */
  demand: number;
};

/**
 * Shares the CPU time that frames may take among the channels that have messages. A channel demands the time that its
 * messages would take if each were a frame of its own. If all of that is within the budget, no channel is limited.
 * Otherwise all have the same share, and it is the one with which the budget is used up, where those that demand less
 * get what they demand. Demand does not depend on the shares, so that shares cannot swing. They fall within a period
 * as demand rises, and rise from one period to the next. Pure: time comes in as an argument, milliseconds.
 */
export class FrameShares {
  /** CPU time that all frames together may take of the busiest core, cores. */
  budget: number;
  #period = 1;
  #since = Number.NEGATIVE_INFINITY;
  /** Channels, and microseconds that they demanded in this period, by power of two of the demand of each. */
  readonly #channels = new Array<number>(SIZES).fill(0);
  readonly #demands = new Array<number>(SIZES).fill(0);
  #demand = 0;
  /** Demand at which the share is computed again in this period. */
  #next = 0;
  #former = UNLIMITED;
  #share = UNLIMITED;

  constructor(budget: number) {
    this.budget = budget;
    this.#begin(Number.NEGATIVE_INFINITY);
  }

  /** Cores that the frames of one channel may take now, above 0. 1: as many as they need. */
  get share(): number {
    return this.#share;
  }

  /** A message has come to a channel. @param cost of a frame, microseconds of the busiest core */
  add(account: Account, cost: number, now: number): void {
    if (now - this.#since >= PERIOD_MS) this.#end(now);
    const isNew = account.period !== this.#period;
    const before = isNew ? 0 : account.demand;
    const after = Math.min(MOST, before + Math.max(1, Math.round(cost)));
    account.period = this.#period;
    account.demand = after;
    this.#demand += after - before;
    if (!isNew) this.#count(before, -1);
    this.#count(after, 1);
    if (this.#demand < this.#next) return;
    this.#next = this.#demand * STEP;
    this.#share = Math.min(this.#former, this.#level(PERIOD_MS));
  }

  #count(demand: number, channels: 1 | -1) {
    const size = 31 - Math.clz32(demand);
    this.#channels[size]! += channels;
    this.#demands[size]! += channels * demand;
  }

  #end(now: number) {
    const ms = now - this.#since;
    const level = this.#level(ms);
    const highest = this.#former * RISE ** Math.floor(ms / PERIOD_MS);
    const stays = level >= this.#former && level < Math.min(UNLIMITED, this.#former * DEAD_BAND);
    if (!stays) this.#former = Math.min(highest, level);
    this.#share = this.#former;
    this.#begin(now);
  }

  #begin(now: number) {
    this.#since = now;
    this.#period = (this.#period + 1) & MOST;
    this.#channels.fill(0);
    this.#demands.fill(0);
    this.#demand = 0;
    this.#next = this.budget * PERIOD_MS * 1_000;
  }

  /** The share with which the demand of `ms` milliseconds uses up the budget, cores. */
  #level(ms: number): number {
    let left = this.budget * ms * 1_000;
    if (this.#demand <= left) return UNLIMITED;
    let channels = 0;
    for (const count of this.#channels) channels += count;
    for (let size = 0; size < SIZES; size++) {
      const demand = this.#demands[size]!;
      const count = this.#channels[size]!;
      if (count > 0 && demand / count >= left / channels) break;
      left -= demand;
      channels -= count;
    }
    return left / Math.max(1, channels) / (ms * 1_000);
  }
}
