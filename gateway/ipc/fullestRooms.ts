import type { RoomCount } from '@pushcluster/protocol/control.ts';

/**
 * Bytes of JSON of a list of rooms, at most. Clients choose the names of rooms, and one character may take six bytes.
 */
export const MAX_LIST_BYTES = 524_288;

/**
 * The fullest of the rooms that were added, at most `limit`. It is a heap with the least full of them at the top: a
 * further room costs one comparison, and a little more if it is fuller. Of rooms with equal numbers the first ones
 * stay.
 */
export class FullestRooms {
  readonly #limit: number;
  readonly #heap: RoomCount[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The number of connections from which on a room would be among them. */
  get least(): number {
    return this.#heap.length < this.#limit ? 1 : (this.#heap[0]?.connections ?? Number.POSITIVE_INFINITY) + 1;
  }

  add(room: string, connections: number): void {
    if (connections < this.least) return;
    const heap = this.#heap;
    const entry = { room, connections };
    if (heap.length < this.#limit) {
      heap.push(entry);
      this.#up(heap.length - 1);
      return;
    }
    heap[0] = entry;
    this.#down(0);
  }

  /** The fullest first; rooms with equal numbers by name. */
  get list(): RoomCount[] {
    return [...this.#heap].sort((a, b) => b.connections - a.connections || (a.room < b.room ? -1 : 1));
  }

  #up(from: number) {
    const heap = this.#heap;
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.connections <= heap[at]!.connections) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(from: number) {
    const heap = this.#heap;
    for (let at = from; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < heap.length && heap[child]!.connections < heap[least]!.connections) least = child;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #swap(a: number, b: number) {
    const entry = this.#heap[a]!;
    this.#heap[a] = this.#heap[b]!;
    this.#heap[b] = entry;
  }
}

/** The JSON of each room, from the first on, as many as take `bytes` together with commas. */
export function jsonWithin(rooms: readonly RoomCount[], bytes: number): string[] {
  const texts: string[] = [];
  let left = bytes;
  for (const { room, connections } of rooms) {
    const text = JSON.stringify({ room, connections });
    left -= Buffer.byteLength(text) + 1;
    if (left < 0) break;
    texts.push(text);
  }
  return texts;
}
