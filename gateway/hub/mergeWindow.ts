import type { ChannelRules } from '@pushcluster/protocol/roomPolicies.ts';
import type { Batch } from './batch.ts';
import { LossNotices, NOTICE_INTERVAL_MS } from './lossNotices.ts';
import { type MessagePart, slicePart } from './messagePart.ts';
import { OverloadBudget } from './overloadBudget.ts';
import { PendingItems } from './pendingItems.ts';

/**
 * The merge window of one channel. Leading edge: a quiet channel's message leaves at once, or after minDelay. Then a
 * batch leaves whenever `length` has passed since the last, or maxItems or maxBytes is reached. Items over the overload
 * budget are cut by policy. Every message costs time in proportion to its items. Pure: time comes in as an argument, milliseconds of a
 * clock that never goes back.
 */
export class MergeWindow {
  #rules: ChannelRules;
  readonly #random: () => number;
  /** Made for items that wait, and with the first loss: in most of many small rooms nothing waits, and nothing is lost. */
  #pending: PendingItems | undefined;
  #losses: LossNotices | undefined;
  /** Made with the first message under an overload policy: users, of whom there may be many, have none. */
  #budget: OverloadBudget | undefined;
  #lastFlush = Number.NEGATIVE_INFINITY;
  #length = Number.POSITIVE_INFINITY;

  constructor(rules: ChannelRules, random: () => number = Math.random) {
    this.#rules = rules;
    this.#random = random;
  }

  /** Applies new rules at once, also to items that are pending already. */
  set rules(rules: ChannelRules) {
    this.#rules = rules;
    if (!rules.overload) this.#budget = undefined;
  }

  /** How long it lasts from now on, milliseconds. More than maxDelay counts as maxDelay. */
  set length(length: number) {
    this.#length = length;
  }

  /** It needs no timer. */
  get idle(): boolean {
    return this.#items === 0 && this.#losses?.waiting !== true;
  }

  /** Items that follow those pending were lost: told with the batch that they would have been in, in its order. */
  lose(items: number): void {
    this.#losses ??= new LossNotices();
    this.#losses.lose(items, this.#items > 0);
  }

  /** Takes a message and returns the batches that leave now, in order. `urgent` flushes all with it. */
  offer(part: MessagePart, now: number, urgent = false): Batch[] {
    if (this.#passes(part, now, urgent)) {
      this.#lastFlush = now;
      return [batchOf([part], part.items.lengths.length)];
    }
    const out: Batch[] = [];
    if (this.#rules.overload) this.#admit(part, now, out);
    else this.#append(part, now, out);
    const leave = this.#items > 0 && (urgent || now >= this.#itemsDue);
    if (leave || this.#lossesDue <= now) out.push(this.#flush(now, leave));
    return out;
  }

  /** When pending items must leave, or losses be told; undefined if there is neither. */
  due(): number | undefined {
    if (this.idle) return undefined;
    return Math.min(this.#items > 0 ? this.#itemsDue : Number.POSITIVE_INFINITY, this.#lossesDue);
  }

  /** What is due, now. Call it when `due()` has come; undefined if the window is idle. */
  flush(now: number): Batch | undefined {
    if (this.idle) return undefined;
    const itemsAreDue = this.#items > 0 && (now >= this.#itemsDue || this.#lossesDue > now);
    return this.#flush(now, itemsAreDue);
  }

  /** All that is pending, due or not. */
  close(now: number): Batch {
    return this.#flush(now, this.#items > 0);
  }

  get length(): number {
    const { maxDelay } = this.#rules;
    // A sample is one of the whole window: shorter ones would be samples of the first messages of each second.
    return this.#budget?.strained ? maxDelay : Math.min(maxDelay, this.#length);
  }

  /** Items that are pending. */
  get #items(): number {
    return this.#pending?.items ?? 0;
  }

  /** When they are due. */
  get #itemsDue(): number {
    const due = this.#lastFlush + this.length;
    const { minDelay } = this.#rules;
    return minDelay > 0 && this.#pending ? Math.max(due, this.#pending.since + minDelay) : due;
  }

  get #lossesDue(): number {
    return this.#losses?.due ?? Number.POSITIVE_INFINITY;
  }

  /** Whether a message leaves at once, with nothing before it and nothing to tell with it. */
  #passes({ items: { lengths, bytes } }: MessagePart, now: number, urgent: boolean): boolean {
    const { overload, minDelay, maxItems, maxBytes } = this.#rules;
    if (overload || this.#losses || this.#items > 0 || lengths.length === 0) return false;
    if (!urgent && (minDelay > 0 || now < this.#itemsDue)) return false;
    return lengths.length <= maxItems && bytes.length < maxBytes;
  }

  /** @param withItems false: only the losses that may be told */
  #flush(now: number, withItems: boolean): Batch {
    const batch = batchOf([], 0);
    this.#losses?.moveTo(batch, now, withItems);
    if (!withItems || !this.#pending) return batch;
    batch.items = this.#pending.items;
    batch.waited = now - this.#pending.since;
    batch.parts = this.#pending.take();
    this.#pending = undefined;
    this.#budget?.spend(batch.items);
    this.#lastFlush = now;
    return batch;
  }

  #append(part: MessagePart, now: number, out: Batch[]) {
    this.#appendFirst(part, part.items.lengths.length, now, out);
  }

  /**
   * Takes the first `count` items of a part, flushing whatever gets full. Returns where the bytes of the next item
   * begin.
   */
  #appendFirst(part: MessagePart, count: number, now: number, out: Batch[]): number {
    if (count > 0) this.#pending?.endSample();
    const { lengths, bytes } = part.items;
    const { maxItems, maxBytes } = this.#rules;
    if (part.position) {
      this.#appendWhole(part, now, out);
      return bytes.length + 1;
    }
    const whole = count === lengths.length;
    let from = 0;
    let start = 0;
    while (from < count) {
      const pending = this.#open();
      const { items: pendingItems, bytes: pendingBytes } = pending;
      let to = from;
      let next = start;
      if (whole && pendingItems + count - from <= maxItems && pendingBytes + bytes.length - start + 1 <= maxBytes) {
        to = count;
        next = bytes.length + 1;
      }
      while (to < count && pendingItems + to - from < maxItems) {
        const after = next + lengths[to]! + 1;
        // An item over maxBytes goes alone.
        if (pendingBytes + after - start > maxBytes && pendingItems + to - from > 0) break;
        next = after;
        to++;
      }
      if (to > from) {
        const all = from === 0 && to === lengths.length;
        pending.append(all ? part : slicePart(part, from, to, start, next - 1), now);
        from = to;
        start = next;
      }
      if (from < count || this.#isFull(pending)) out.push(this.#flush(now, true));
    }
    return start;
  }

  /**
   * Takes a part that is not split. What is pending leaves before it, if both are too much for a frame, or their numbers
   * count in different histories.
   */
  #appendWhole(part: MessagePart, now: number, out: Batch[]) {
    const { lengths, bytes } = part.items;
    const { maxItems, maxBytes } = this.#rules;
    if (this.#pending && this.#items > 0) {
      const isTooMuch = this.#items + lengths.length > maxItems || this.#pending.bytes + bytes.length + 1 > maxBytes;
      const epoch = this.#pending.last?.position?.epoch ?? part.position?.epoch;
      if (isTooMuch || epoch !== part.position?.epoch) out.push(this.#flush(now, true));
    }
    const pending = this.#open();
    pending.append(part, now);
    if (this.#isFull(pending)) out.push(this.#flush(now, true));
  }

  /** Takes the items that the budget has room for; what is over it is cut, or cuts others, by policy. */
  #admit(part: MessagePart, now: number, out: Batch[]) {
    const { maxDelay, overload } = this.#rules;
    if (!overload) return;
    this.#budget ??= new OverloadBudget();
    const budget = this.#budget;
    budget.enter(now, overload, maxDelay, this.#items);
    const count = part.items.lengths.length;
    const room = Math.max(0, budget.left - this.#items);
    const taken = this.#pending?.sampled ? 0 : Math.min(count, room);
    const start = this.#appendFirst(part, taken, now, out);
    budget.see(taken);
    if (taken === count) return;
    if (overload.policy === 'sample') this.#sample(part, taken, start, budget, now, out);
    else if (overload.policy === 'dropOldest' && this.#pending && budget.left > 0)
      this.#renew(this.#pending, part, taken, start, budget, now, out);
    else this.#cut(count - taken, budget);
  }

  #cut(items: number, budget: OverloadBudget) {
    // The first window that lasts as long as maxDelay is that of the present span.
    if (!budget.strained && this.#length < this.#rules.maxDelay) this.#lastFlush = budget.spanStart;
    budget.strain();
    const nextBatch = this.#lastFlush + Math.max(this.#rules.maxDelay, NOTICE_INTERVAL_MS);
    this.#losses ??= new LossNotices();
    this.#losses.cut(items, Math.min(budget.spanEnd, nextBatch));
  }

  /** dropOldest: the items from `from` on take the places of the oldest that are pending, or of each other. */
  #renew(
    pending: PendingItems,
    part: MessagePart,
    from: number,
    start: number,
    budget: OverloadBudget,
    now: number,
    out: Batch[],
  ) {
    const { lengths, bytes } = part.items;
    const rest = lengths.length - from;
    const kept = Math.min(rest, pending.items);
    let first = start;
    for (let i = from; i < lengths.length - kept; i++) first += lengths[i]! + 1;
    this.#cut(rest, budget);
    pending.removeOldest(kept);
    this.#append(slicePart(part, lengths.length - kept, lengths.length, first, bytes.length), now, out);
  }

  /** sample: a reservoir, in which each item seen since the last batch has the same chance to be. */
  #sample(part: MessagePart, from: number, start: number, budget: OverloadBudget, now: number, out: Batch[]) {
    const { lengths } = part.items;
    let next = start;
    for (let i = from; i < lengths.length; i++) {
      const free = budget.left;
      if (free <= 0) {
        budget.see(lengths.length - i);
        this.#cut(lengths.length - i, budget);
        return;
      }
      const at = next;
      next += lengths[i]! + 1;
      budget.see(1);
      if (this.#pending && this.#pending.items >= free) {
        this.#cut(1, budget);
        const victim = Math.floor(this.#random() * budget.seen);
        if (victim >= this.#pending.items) continue;
        this.#pending.removeFromSample(victim);
      }
      this.#keep(part, i, at, now, out);
    }
  }

  /** Adds one item to the sample; a batch that it would make too large leaves without it. */
  #keep(part: MessagePart, index: number, start: number, now: number, out: Batch[]) {
    const bytes = part.items.lengths[index]! + 1;
    if (this.#pending && this.#items > 0 && this.#pending.bytes + bytes > this.#rules.maxBytes)
      out.push(this.#flush(now, true));
    const pending = this.#open();
    pending.addToSample(part, index, start, now);
    if (this.#isFull(pending)) out.push(this.#flush(now, true));
  }

  /** Where items can wait. */
  #open(): PendingItems {
    this.#pending ??= new PendingItems();
    return this.#pending;
  }

  #isFull({ items, bytes }: PendingItems): boolean {
    return items >= this.#rules.maxItems || bytes >= this.#rules.maxBytes;
  }
}

function batchOf(parts: MessagePart[], items: number): Batch {
  return { parts, items, cut: 0, lost: { before: 0, after: 0 }, waited: 0 };
}
