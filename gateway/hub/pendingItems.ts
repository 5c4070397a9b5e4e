import { type MessagePart, slicePart } from './messagePart.ts';
import { Reservoir } from './reservoir.ts';

/** The items of a window that wait for their batch, in publish order. */
export class PendingItems {
  #parts: MessagePart[] = [];
  #items = 0;
  #bytes = 0;
  /** Holds the items in place of `#parts` once a sample has to leave some out. */
  #reservoir: Reservoir | undefined;
  #since = 0;

  get items(): number {
    return this.#reservoir?.size ?? this.#items;
  }

  /** The part that was appended last. */
  get last(): MessagePart | undefined {
    return this.#parts.at(-1);
  }

  /** Bytes of the items, each with its comma. */
  get bytes(): number {
    return this.#reservoir?.bytes ?? this.#bytes;
  }

  /** When the first of the items came. Without a meaning while there are none. */
  get since(): number {
    return this.#since;
  }

  /** They are a sample: any of them may give way to an item that comes. */
  get sampled(): boolean {
    return this.#reservoir !== undefined;
  }

  append(part: MessagePart, now: number): void {
    this.endSample();
    if (this.#items === 0) this.#since = now;
    this.#parts.push(part);
    this.#items += part.items.lengths.length;
    this.#bytes += part.items.bytes.length + 1;
  }

  /** Removes the first `count` items, of those that were appended. */
  removeOldest(count: number): void {
    this.endSample();
    const parts = this.#parts;
    let left = count;
    let whole = 0;
    for (; whole < parts.length && parts[whole]!.items.lengths.length <= left; whole++) {
      left -= parts[whole]!.items.lengths.length;
      this.#bytes -= parts[whole]!.items.bytes.length + 1;
    }
    parts.splice(0, whole);
    this.#items -= count;
    if (left === 0) return;
    const part = parts[0]!;
    const { lengths, bytes } = part.items;
    let start = 0;
    for (let i = 0; i < left; i++) start += lengths[i]! + 1;
    parts[0] = slicePart(part, left, lengths.length, start, bytes.length);
    this.#bytes -= start;
  }

  /** Makes them a sample, to which single items are added. */
  beginSample(): void {
    this.#reservoir ??= new Reservoir(this.#parts);
  }

  /** The sample ends: the items that it holds stay. */
  endSample(): void {
    if (!this.#reservoir) return;
    this.#parts = this.#reservoir.parts;
    this.#items = this.#reservoir.size;
    this.#bytes = this.#reservoir.bytes;
    this.#reservoir = undefined;
  }

  /** Adds one item of a part to the sample. @param start where the item's bytes begin in the part's */
  addToSample(part: MessagePart, index: number, start: number, now: number): void {
    this.beginSample();
    if (this.items === 0) this.#since = now;
    this.#reservoir?.add(part, index, start);
  }

  /** Removes one item of the sample. @param victim 0 up to `items` */
  removeFromSample(victim: number): void {
    this.beginSample();
    this.#reservoir?.remove(victim);
  }

  /** Takes all items out. */
  take(): MessagePart[] {
    const parts = this.#reservoir?.parts ?? this.#parts;
    this.#parts = [];
    this.#reservoir = undefined;
    this.#items = 0;
    this.#bytes = 0;
    return parts;
  }
}
