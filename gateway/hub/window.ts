import type { ChannelRules } from '@pushcluster/protocol/roomPolicies.ts';
import type { Batch } from './batch.ts';
import { type MessagePart, slicePart } from './messagePart.ts';
import { Reservoir } from './reservoir.ts';

/** The shortest span over which an overload budget is counted, milliseconds. */
const BUDGET_SPAN = 1_000;
/** Between two words on what was cut, or was lost, milliseconds: each is a frame to everyone. */
const LOSS_SPAN = 1_000;

/**
 * The merge window of one channel: leading edge (a quiet channel's message leaves at once), then a batch whenever
 * maxDelay has passed since the last, or maxItems or maxBytes is reached. What was cut or lost is told once a second at
 * most. Every message costs time in proportion to its items. Pure: time comes in as an argument.
 */
export class Window {
  #rules: ChannelRules;
  readonly #random: () => number;
  #pending: MessagePart[] = [];
  /** Holds what is pending, in place of `#pending`, once the sample of this batch has to leave items out. */
  #reservoir: Reservoir | undefined;
  #items = 0;
  #bytes = 0;
  #cut = 0;
  #lost = { before: 0, after: 0 };
  #lastFlush = Number.NEGATIVE_INFINITY;
  #firstAt = 0;
  /** When what was cut may be told: with the batch, or at the end of the span that cut it, before the next one's items. */
  #cutDue = 0;
  #cutTold = Number.NEGATIVE_INFINITY;
  #lostTold = Number.NEGATIVE_INFINITY;
  // Overload: items of the present span that left, less those still pending from before it, and items seen since the last batch.
  #spanStart = Number.NEGATIVE_INFINITY;
  #spent = 0;
  #seen = 0;

  constructor(rules: ChannelRules, random: () => number = Math.random) {
    this.#rules = rules;
    this.#random = random;
  }

  /** From now on; what is pending stays and leaves by the new rules. */
  set rules(rules: ChannelRules) {
    this.#rules = rules;
  }

  get idle(): boolean {
    return this.#items === 0 && this.#cut === 0 && this.#lost.before === 0;
  }

  /** Items that follow those pending were lost: told with the batch that they would have been in, in its order. */
  lose(items: number): void {
    if (this.#items === 0) this.#lost.before += items;
    else this.#lost.after += items;
  }

  /** Takes a part and returns the batches that leave now, in order. `urgent` flushes all with it. */
  offer(part: MessagePart, now: number, urgent = false): Batch[] {
    const out: Batch[] = [];
    if (this.#rules.overload) this.#admit(part, now, out);
    else this.#append(part, now, out);
    const leave = this.#items > 0 && (urgent || now >= this.#itemsDue);
    if (leave || this.#lossDue <= now) out.push(this.#flush(now, leave));
    return out;
  }

  /** When pending items must leave, or losses be told; undefined where there is neither. */
  due(): number | undefined {
    if (this.idle) return undefined;
    return Math.min(this.#items > 0 ? this.#itemsDue : Number.POSITIVE_INFINITY, this.#lossDue);
  }

  /** What is due, now. Call where `due()` has come; undefined where nothing is pending. */
  flush(now: number): Batch | undefined {
    if (this.idle) return undefined;
    const itemsAreDue = this.#items > 0 && (now >= this.#itemsDue || this.#lossDue > now);
    return this.#flush(now, itemsAreDue);
  }

  get #itemsDue(): number {
    return this.#lastFlush + this.#rules.maxDelay;
  }

  /** When the next loss may be told; infinity where there is none. */
  get #lossDue(): number {
    const cut = this.#cut > 0 ? Math.max(this.#cutDue, this.#cutTold + LOSS_SPAN) : Number.POSITIVE_INFINITY;
    const lost = this.#lost.before > 0 ? this.#lostTold + LOSS_SPAN : Number.POSITIVE_INFINITY;
    return Math.min(cut, lost);
  }

  /** @param withItems false: only the losses that may be told */
  #flush(now: number, withItems: boolean): Batch {
    const batch: Batch = { parts: [], items: 0, cut: 0, lost: { before: 0, after: 0 }, waited: 0 };
    if (this.#cut > 0 && now >= Math.max(this.#cutDue, this.#cutTold + LOSS_SPAN)) {
      batch.cut = this.#cut;
      this.#cut = 0;
      this.#cutTold = now;
    }
    if (now - this.#lostTold >= LOSS_SPAN && (this.#lost.before > 0 || (withItems && this.#lost.after > 0))) {
      // One of the two: what is lost after the batch can wait for the next word, before which it is in place as well.
      const place = this.#lost.before > 0 ? 'before' : 'after';
      batch.lost[place] = this.#lost[place];
      this.#lost[place] = 0;
      this.#lostTold = now;
    }
    if (!withItems) return batch;
    batch.parts = this.#reservoir?.parts ?? this.#pending;
    batch.items = this.#items;
    batch.waited = now - this.#firstAt;
    this.#lost = { before: this.#lost.before + this.#lost.after, after: 0 };
    this.#spent += this.#items;
    this.#pending = [];
    this.#reservoir = undefined;
    this.#items = 0;
    this.#bytes = 0;
    this.#seen = 0;
    this.#lastFlush = now;
    return batch;
  }

  #append(part: MessagePart, now: number, out: Batch[]) {
    this.#appendFirst(part, part.items.lengths.length, now, out);
  }

  /** Takes the first `count` items of a part, flushing whatever gets full. Returns where the bytes of the next item begin. */
  #appendFirst(part: MessagePart, count: number, now: number, out: Batch[]): number {
    if (count > 0) this.#endSample();
    const { lengths, bytes } = part.items;
    const { maxItems, maxBytes } = this.#rules;
    const whole = count === lengths.length;
    let from = 0;
    let start = 0;
    while (from < count) {
      let to = from;
      let next = start;
      if (whole && this.#items + count - from <= maxItems && this.#bytes + bytes.length - start + 1 <= maxBytes) {
        to = count;
        next = bytes.length + 1;
      }
      while (to < count && this.#items + to - from < maxItems) {
        const after = next + lengths[to]! + 1;
        // An item over maxBytes goes alone.
        if (this.#bytes + after - start > maxBytes && this.#items + to - from > 0) break;
        next = after;
        to++;
      }
      if (to > from) {
        const all = from === 0 && to === lengths.length;
        this.#push(all ? part : slicePart(part, from, to, start, next - 1), now);
        from = to;
        start = next;
      }
      if (from < count || this.#full) out.push(this.#flush(now, true));
    }
    return start;
  }

  get #full(): boolean {
    return this.#items >= this.#rules.maxItems || this.#bytes >= this.#rules.maxBytes;
  }

  #push(part: MessagePart, now: number) {
    if (this.#items === 0) this.#firstAt = now;
    this.#pending.push(part);
    this.#items += part.items.lengths.length;
    this.#bytes += part.items.bytes.length + 1;
  }

  #admit(part: MessagePart, now: number, out: Batch[]) {
    const { maxDelay, overload } = this.#rules;
    if (!overload) return;
    const span = Math.max(maxDelay, BUDGET_SPAN);
    if (now - this.#spanStart >= span) {
      this.#spanStart = now;
      // What is still pending was let in by the span before: it must not be charged to this one when it leaves.
      this.#spent = -this.#items;
    }
    const budget = Math.max(1, Math.round((overload.maxRate * span) / 1_000));
    const count = part.items.lengths.length;
    const taken = this.#reservoir ? 0 : Math.min(count, Math.max(0, budget - this.#spent - this.#items));
    const start = this.#appendFirst(part, taken, now, out);
    this.#seen += taken;
    if (taken === count) return;
    if (overload.policy === 'sample') this.#sample(part, taken, start, budget, now, out);
    else if (overload.policy === 'dropOldest' && this.#items > 0 && budget > this.#spent)
      this.#renew(part, taken, start, now, out);
    else this.#cutItems(count - taken);
  }

  #cutItems(items: number) {
    if (items === 0) return;
    if (this.#cut === 0) {
      const { maxDelay } = this.#rules;
      const spanEnd = this.#spanStart + Math.max(maxDelay, BUDGET_SPAN);
      this.#cutDue = Math.min(spanEnd, this.#lastFlush + Math.max(maxDelay, LOSS_SPAN));
    }
    this.#cut += items;
  }

  /** The items from `from` on take the places of the oldest that are pending, or of each other. */
  #renew(part: MessagePart, from: number, start: number, now: number, out: Batch[]) {
    const { lengths, bytes } = part.items;
    this.#endSample();
    const rest = lengths.length - from;
    const kept = Math.min(rest, this.#items);
    let first = start;
    for (let i = from; i < lengths.length - kept; i++) first += lengths[i]! + 1;
    this.#cutItems(rest);
    this.#removeOldest(kept);
    this.#append(slicePart(part, lengths.length - kept, lengths.length, first, bytes.length), now, out);
  }

  #removeOldest(items: number) {
    let left = items;
    let whole = 0;
    for (; whole < this.#pending.length && this.#pending[whole]!.items.lengths.length <= left; whole++) {
      left -= this.#pending[whole]!.items.lengths.length;
      this.#bytes -= this.#pending[whole]!.items.bytes.length + 1;
    }
    this.#pending.splice(0, whole);
    this.#items -= items;
    if (left === 0) return;
    const part = this.#pending[0]!;
    const { lengths, bytes } = part.items;
    let start = 0;
    for (let i = 0; i < left; i++) start += lengths[i]! + 1;
    this.#pending[0] = slicePart(part, left, lengths.length, start, bytes.length);
    this.#bytes -= start;
  }

  /** A reservoir: each item seen since the last batch has the same chance to be in it. */
  #sample(part: MessagePart, from: number, start: number, budget: number, now: number, out: Batch[]) {
    const { lengths } = part.items;
    let next = start;
    for (let i = from; i < lengths.length; i++) {
      const free = budget - this.#spent;
      if (free <= 0) {
        this.#seen += lengths.length - i;
        this.#cutItems(lengths.length - i);
        return;
      }
      const at = next;
      next += lengths[i]! + 1;
      this.#seen++;
      if (this.#items >= free) {
        this.#cutItems(1);
        const victim = Math.floor(this.#random() * this.#seen);
        if (victim >= this.#items) continue;
        this.#sampled.remove(victim);
        this.#items--;
      }
      this.#keep(part, i, at, now, out);
    }
  }

  /** One item into the reservoir; a batch that it would make too large leaves without it. */
  #keep(part: MessagePart, index: number, start: number, now: number, out: Batch[]) {
    this.#bytes = this.#sampled.bytes;
    if (this.#items > 0 && this.#bytes + part.items.lengths[index]! + 1 > this.#rules.maxBytes)
      out.push(this.#flush(now, true));
    if (this.#items === 0) this.#firstAt = now;
    const reservoir = this.#sampled;
    reservoir.add(part, index, start);
    this.#items = reservoir.size;
    this.#bytes = reservoir.bytes;
    if (this.#full) out.push(this.#flush(now, true));
  }

  /** The policy changed under a batch that was sampled: what is kept stays. */
  #endSample() {
    if (!this.#reservoir) return;
    this.#pending = this.#reservoir.parts;
    this.#reservoir = undefined;
  }

  get #sampled(): Reservoir {
    this.#reservoir ??= new Reservoir(this.#pending);
    return this.#reservoir;
  }
}
