import { type Items, sliceItems } from '@pushcluster/protocol/push.ts';

/** Items of one publisher that follow each other, on their way to a frame. */
export type Chunk = {
  publisher: string;
  /** The publisher's counter of the first item. */
  first: number;
  /** When logic accepted them, milliseconds since the epoch. */
  at: number;
  items: Items;
};

/** What leaves a window: one frame's items in publish order. */
export type Batch = {
  chunks: Chunk[];
  /** Items in `chunks`. */
  items: number;
  /** Items that the overload policy cut since the last batch. */
  cut: number;
  /** Items that were lost on the bus before the first of `chunks`, and after it: a frame can't tell of them within. */
  lost: { before: number; after: number };
  /** Milliseconds from the first item's arrival to now. */
  waited: number;
};

export type Rules = {
  /** Milliseconds. */
  maxDelay: number;
  maxItems: number;
  maxBytes: number;
  /** Items a second, and what goes when there are more. */
  overload?: { maxRate: number; policy: 'sample' | 'dropOldest' | 'dropNewest' } | undefined;
};

/** The shortest span over which an overload budget is counted, milliseconds. */
const BUDGET_SPAN = 1_000;

/**
 * The merge window of one channel: leading edge (a quiet channel's message leaves at once), then a batch whenever
 * maxDelay has passed since the last, or maxItems or maxBytes is reached. Pure: time comes in as an argument.
 */
export class Window {
  #rules: Rules;
  readonly #random: () => number;
  #pending: Chunk[] = [];
  #items = 0;
  #bytes = 0;
  #cut = 0;
  #lost = { before: 0, after: 0 };
  #lastFlush = Number.NEGATIVE_INFINITY;
  #firstAt = 0;
  // Overload: items of the present span that left, less those still pending from before it, and items seen since the last batch.
  #spanStart = Number.NEGATIVE_INFINITY;
  #spent = 0;
  #seen = 0;

  constructor(rules: Rules, random: () => number = Math.random) {
    this.#rules = rules;
    this.#random = random;
  }

  /** From now on; what is pending stays and leaves by the new rules. */
  set rules(rules: Rules) {
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

  /** Takes a chunk and returns the batches that leave now, in order. `urgent` flushes all with it. */
  offer(chunk: Chunk, now: number, urgent = false): Batch[] {
    const out: Batch[] = [];
    if (this.#rules.overload) this.#admit(chunk, now, out);
    else this.#append(chunk, now, out);
    const waitOver = now - this.#lastFlush >= this.#rules.maxDelay;
    if (!this.idle && (urgent || waitOver)) out.push(this.#flush(now));
    return out;
  }

  /** When the pending items must leave; undefined where nothing is pending. */
  due(): number | undefined {
    if (this.idle) return undefined;
    return this.#lastFlush + this.#rules.maxDelay;
  }

  /** The pending items, now. Call where `due()` has come; undefined where nothing is pending. */
  flush(now: number): Batch | undefined {
    return this.idle ? undefined : this.#flush(now);
  }

  #flush(now: number): Batch {
    const batch: Batch = {
      chunks: this.#pending,
      items: this.#items,
      cut: this.#cut,
      lost: this.#lost,
      waited: this.#items > 0 ? now - this.#firstAt : 0,
    };
    this.#spent += this.#items;
    this.#pending = [];
    this.#items = 0;
    this.#bytes = 0;
    this.#cut = 0;
    this.#lost = { before: 0, after: 0 };
    this.#seen = 0;
    this.#lastFlush = now;
    return batch;
  }

  #append(chunk: Chunk, now: number, out: Batch[]) {
    let rest = chunk;
    while (rest.items.lengths.length > 0) {
      const fit = this.#fit(rest.items);
      if (fit === 0) {
        out.push(this.#flush(now));
        continue;
      }
      const whole = fit === rest.items.lengths.length;
      this.#push(whole ? rest : sliceChunk(rest, 0, fit), now);
      if (this.#items >= this.#rules.maxItems || this.#bytes >= this.#rules.maxBytes) out.push(this.#flush(now));
      if (whole) return;
      rest = sliceChunk(rest, fit, rest.items.lengths.length);
    }
  }

  /** How many items of the front of `items` the present batch takes. An item over maxBytes goes alone. */
  #fit(items: Items): number {
    const { maxItems, maxBytes } = this.#rules;
    const total = items.lengths.length;
    if (this.#items + total <= maxItems && this.#bytes + items.bytes.length + 1 <= maxBytes) return total;
    let bytes = this.#bytes;
    let fit = 0;
    while (fit < total && this.#items + fit < maxItems) {
      bytes += items.lengths[fit]! + 1;
      if (bytes > maxBytes && this.#items + fit > 0) break;
      fit++;
    }
    return fit;
  }

  #push(chunk: Chunk, now: number) {
    if (this.#items === 0) this.#firstAt = now;
    this.#pending.push(chunk);
    this.#items += chunk.items.lengths.length;
    this.#bytes += chunk.items.bytes.length + 1;
  }

  #admit(chunk: Chunk, now: number, out: Batch[]) {
    const { maxDelay, overload } = this.#rules;
    if (!overload) return;
    const span = Math.max(maxDelay, BUDGET_SPAN);
    if (now - this.#spanStart >= span) {
      this.#spanStart = now;
      // What is still pending was let in by the span before: it must not be charged to this one when it leaves.
      this.#spent = -this.#items;
    }
    const budget = Math.max(1, Math.round((overload.maxRate * span) / 1_000));
    const count = chunk.items.lengths.length;
    if (this.#spent + this.#items + count <= budget) {
      this.#seen += count;
      this.#append(chunk, now, out);
      return;
    }
    for (let i = 0; i < count; i++) {
      const single = count === 1 ? chunk : sliceChunk(chunk, i, i + 1);
      this.#seen++;
      const free = budget - this.#spent;
      if (this.#items < free) {
        this.#append(single, now, out);
        continue;
      }
      this.#cut++;
      if (free <= 0 || overload.policy === 'dropNewest') continue;
      // A reservoir: each item seen since the last batch has the same chance to be in it.
      const victim = overload.policy === 'dropOldest' ? 0 : Math.floor(this.#random() * this.#seen);
      if (victim >= this.#items) continue;
      this.#removePending(victim);
      this.#append(single, now, out);
    }
  }

  #removePending(position: number) {
    if (this.#pending.length < this.#items) this.#pending = this.#pending.flatMap(singles);
    const [removed] = this.#pending.splice(position, 1);
    this.#items--;
    this.#bytes -= removed!.items.bytes.length + 1;
  }
}

/** Items `from` (included) to `to` (excluded) of a chunk. */
export function sliceChunk(chunk: Chunk, from: number, to: number): Chunk {
  return { ...chunk, first: chunk.first + from, items: sliceItems(chunk.items, from, to) };
}

function singles(chunk: Chunk): Chunk[] {
  return Array.from(chunk.items.lengths, (_, i) => sliceChunk(chunk, i, i + 1));
}
