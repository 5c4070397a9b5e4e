import { type MessagePart, slicePart } from './messagePart.ts';

/** One item of a message, and where its bytes are. */
type Entry = { part: MessagePart; index: number; start: number; end: number };

/** Items in the order of their arrival. Any of them can be removed at constant cost. */
export class Reservoir {
  /** In order of arrival; undefined for an item that was removed. */
  readonly #entries: (Entry | undefined)[] = [];
  /** Indexes in `#entries` of the items that are kept, in any order. */
  readonly #kept: number[] = [];
  #bytes = 0;

  constructor(parts: readonly MessagePart[]) {
    for (const part of parts) {
      const { lengths } = part.items;
      for (let index = 0, start = 0; index < lengths.length; index++) start = this.add(part, index, start);
    }
  }

  get size(): number {
    return this.#kept.length;
  }

  /** Bytes of the items that are kept, each with its comma. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @param start where the item's bytes begin in the part's
   * @returns where those of the next begin
   */
  add(part: MessagePart, index: number, start: number): number {
    const end = start + part.items.lengths[index]!;
    this.#bytes += end - start + 1;
    this.#kept.push(this.#entries.push({ part, index, start, end }) - 1);
    return end + 1;
  }

  /** Removes one item. @param victim 0 up to `size`, in no particular order */
  remove(victim: number): void {
    const place = this.#kept[victim]!;
    const last = this.#kept.pop()!;
    if (victim < this.#kept.length) this.#kept[victim] = last;
    const { start, end } = this.#entries[place]!;
    this.#bytes -= end - start + 1;
    this.#entries[place] = undefined;
  }

  /** The items that are kept; neighbours of one message in one part. */
  get parts(): MessagePart[] {
    const parts: MessagePart[] = [];
    let run: (Entry & { to: number }) | undefined;
    const close = () => {
      if (run) parts.push(slicePart(run.part, run.index, run.to, run.start, run.end));
    };
    for (const entry of this.#entries) {
      if (!entry) continue;
      if (run && run.part === entry.part && run.to === entry.index) {
        run.to++;
        run.end = entry.end;
        continue;
      }
      close();
      run = { ...entry, to: entry.index + 1 };
    }
    close();
    return parts;
  }
}
