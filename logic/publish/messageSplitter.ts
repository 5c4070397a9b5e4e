import { type Items, itemsSize, joinItems, sliceItems } from '@pushcluster/protocol/push.ts';
import { itemTooLarge } from '../items/pushLimits.ts';

/** Bytes of a message that are kept for its header: the most that protocol/push.ts writes, and as much again for later versions. */
export const HEADER_BYTES = 1_024;

export const NO_ITEMS: Items = { lengths: new Uint32Array(0), bytes: new Uint8Array(0) };

/**
 * Splits pushes into messages that the bus accepts (max_payload). The same push is always split at the same places: its
 * parts have ids of their own, and a retry is recognised part by part.
 */
export class MessageSplitter {
  readonly #maxPayload: () => number;

  /** @param maxPayload largest message of the bus, in bytes */
  constructor(maxPayload: () => number) {
    this.#maxPayload = maxPayload;
  }

  /** Bytes of a message that its body may take. */
  get bodyBytes(): number {
    return this.#maxPayload() - HEADER_BYTES;
  }

  /**
   * Splits `items` (JSON texts). Throws Problem item_too_large if one item is too large for any message.
   * @param overhead bytes of each body that something else takes
   */
  items(items: readonly Uint8Array[], overhead: number): Items[] {
    const budget = this.bodyBytes - overhead;
    const all = joinItems(items);
    if (itemsSize(all) <= budget) return [all];
    // An item alone takes its count, its length and itself.
    const limit = Math.max(0, budget - 8);
    const parts: Items[] = [];
    let from = 0;
    let size = 4;
    for (let i = 0; i < items.length; i++) {
      const length = items[i]!.length;
      if (length > limit) throw itemTooLarge(items, limit);
      if (i > from && size + length + 5 > budget) {
        parts.push(sliceItems(all, from, i));
        from = i;
        size = 4;
      }
      size += length + 5;
    }
    parts.push(sliceItems(all, from, items.length));
    return parts;
  }

  /** Splits `users` into runs whose names take at most a quarter of a body: the rest is for items. */
  users(users: readonly string[]): string[][] {
    const limit = this.bodyBytes / 4;
    const runs: string[][] = [];
    let run: string[] = [];
    let size = 0;
    for (const user of users) {
      const bytes = Buffer.byteLength(user) + 1;
      if (run.length > 0 && size + bytes > limit) {
        runs.push(run);
        run = [];
        size = 0;
      }
      run.push(user);
      size += bytes;
    }
    runs.push(run);
    return runs;
  }
}

/** The id of one part of a push; '' if the push has none. */
export function partId(id: string, part: number): string {
  return id === '' ? '' : `${id}/${part}`;
}
