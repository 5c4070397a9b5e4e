import type { Items } from '@pushcluster/protocol/push.ts';
import type { Skipped } from './publishers.ts';

/** Items of one publisher that follow each other, on their way to a frame. */
export type Chunk = {
  publisher: string;
  /** The publisher's counter of the first item. */
  first: number;
  /** When logic accepted them, milliseconds since the epoch. */
  at: number;
  items: Items;
  /** Idempotency key of the bus message that they came in; '' or absent where it has none. */
  id?: string | undefined;
  /** The publisher's counter of that message's first item. */
  origin?: number | undefined;
  /** Items of the publisher before these that go no further, since they came before. */
  skipped?: Skipped | undefined;
};

/** Items `from` (included) to `to` (excluded) of a chunk, whose bytes are `start` to `end`: whoever walks a chunk knows them. */
export function sliceChunk(chunk: Chunk, from: number, to: number, start: number, end: number): Chunk {
  const { publisher, first, at, items, id, origin } = chunk;
  const slice = { lengths: items.lengths.subarray(from, to), bytes: items.bytes.subarray(start, end) };
  const skipped = from === 0 ? chunk.skipped : undefined;
  return { publisher, first: first + from, at, items: slice, id, origin, skipped };
}

/** The chunk without its first `count` items. */
export function afterItems(chunk: Chunk, count: number): Chunk {
  const { lengths, bytes } = chunk.items;
  let start = 0;
  for (let i = 0; i < count; i++) start += lengths[i]! + 1;
  return sliceChunk(chunk, count, lengths.length, Math.min(start, bytes.length), bytes.length);
}
