import type { RoomCount } from '@pushcluster/protocol/control.ts';

/** Bytes of JSON that a list of rooms takes at most: the names of rooms are strangers', and a quote or control takes six. */
export const MAX_LIST_BYTES = 524_288;

/**
 * The fullest of the rooms that it is told of, at most `limit`: a heap whose top is the least full of them, so that each
 * further room costs a comparison, and a little more where it is fuller. Of rooms with as many the first ones stay.
 */
export class Fullest {
  readonly #limit: number;
  readonly #heap: RoomCount[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Connections from which on a room would be among them. */
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

  /** The fullest first, those with as many by name. */
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

/** The JSON of each room, as many from the front as take `bytes` together, with commas. */
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
