import type { Batch } from './batch.ts';

/**
 * Between two notices of items that were cut, or that were lost, milliseconds: each notice is a frame to every
 * listener.
 */
export const NOTICE_INTERVAL_MS = 1_000;

/**
 * Losses of a channel that its listeners have not been notified of yet: items that the overload policy cut, and items that
 * were lost on the bus. Each kind is reported at most once per NOTICE_INTERVAL_MS, in its place among the items.
 */
export class LossNotices {
  #cut = 0;
  /** Earliest time to report the cut items: with the next batch, or at the end of the span that cut them, if that is first. */
  #cutDue = 0;
  #cutToldAt = Number.NEGATIVE_INFINITY;
  /** Items that were lost before those that are pending now, and after them. */
  #lostBefore = 0;
  #lostAfter = 0;
  #lostToldAt = Number.NEGATIVE_INFINITY;

  /** There is a notice to send even if no item comes. */
  get waiting(): boolean {
    return this.#cut > 0 || this.#lostBefore > 0;
  }

  /** When the next notice may be sent; infinity if there is none. */
  get due(): number {
    const cut = this.#cut > 0 ? this.#cutMayBeToldAt : Number.POSITIVE_INFINITY;
    const lost = this.#lostBefore > 0 ? this.#lostToldAt + NOTICE_INTERVAL_MS : Number.POSITIVE_INFINITY;
    return Math.min(cut, lost);
  }

  /** Items were lost on the bus. @param afterPending items are pending that were published before them */
  lose(items: number, afterPending: boolean): void {
    if (afterPending) this.#lostAfter += items;
    else this.#lostBefore += items;
  }

  /** Items were cut. @param due when they may be told, unless others that were cut wait already */
  cut(items: number, due: number): void {
    if (items === 0) return;
    if (this.#cut === 0) this.#cutDue = due;
    this.#cut += items;
  }

  /** Moves what may be told now into `batch`. @param withItems the batch carries all items that are pending */
  moveTo(batch: Batch, now: number, withItems: boolean): void {
    if (this.#cut > 0 && now >= this.#cutMayBeToldAt) {
      batch.cut = this.#cut;
      this.#cut = 0;
      this.#cutToldAt = now;
    }
    if (now - this.#lostToldAt >= NOTICE_INTERVAL_MS) {
      // One of the two: what was lost after the batch's items can wait for the next notice, which is in its place too.
      if (this.#lostBefore > 0) {
        batch.lost.before = this.#lostBefore;
        this.#lostBefore = 0;
        this.#lostToldAt = now;
      } else if (withItems && this.#lostAfter > 0) {
        batch.lost.after = this.#lostAfter;
        this.#lostAfter = 0;
        this.#lostToldAt = now;
      }
    }
    if (!withItems) return;
    this.#lostBefore += this.#lostAfter;
    this.#lostAfter = 0;
  }

  get #cutMayBeToldAt(): number {
    return Math.max(this.#cutDue, this.#cutToldAt + NOTICE_INTERVAL_MS);
  }
}
