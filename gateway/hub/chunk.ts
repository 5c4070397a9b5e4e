import type { Items } from '@pushcluster/protocol/push.ts';

/** Items of one publisher that follow each other, on their way to a frame. */
export type Chunk = {
  publisher: string;
  /** The publisher's counter of the first item. */
  first: number;
  /** When logic accepted them, milliseconds since the epoch. */
  at: number;
  items: Items;
};

/** Items `from` (included) to `to` (excluded) of a chunk, whose bytes are `start` to `end`: whoever walks a chunk knows them. */
export function sliceChunk(chunk: Chunk, from: number, to: number, start: number, end: number): Chunk {
  const { publisher, first, at, items } = chunk;
  const slice = { lengths: items.lengths.subarray(from, to), bytes: items.bytes.subarray(start, end) };
  return { publisher, first: first + from, at, items: slice };
}

/** The chunk without its first `count` items. */
export function afterItems(chunk: Chunk, count: number): Chunk {
  const { lengths, bytes } = chunk.items;
  let start = 0;
  for (let i = 0; i < count; i++) start += lengths[i]! + 1;
  return sliceChunk(chunk, count, lengths.length, Math.min(start, bytes.length), bytes.length);
}
