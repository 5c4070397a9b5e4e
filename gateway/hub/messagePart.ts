import type { Items, PushHeader } from '@pushcluster/protocol/push.ts';
import type { Skipped } from './publisherCounters.ts';

/**
 * A number in a room's history, the one that it follows on, and the history that they count in, unless nobody has been able
 * to name that yet.
 */
export type Position = { seq: number; previous: number; epoch: string | undefined };

/**
 * A message of the bus on its way to a batch, or the part of it that goes into one batch: items of one publisher whose
 * counters follow each other.
 */
export type MessagePart = {
  publisher: string;
  /** The publisher's counter of the first item: it counts the items that the publisher sent on this subject. */
  first: number;
  /** When logic accepted them, milliseconds since the epoch. */
  at: number;
  items: Items;
  /** Idempotency key of the message; '' or absent if it has none. */
  id?: string | undefined;
  /** The publisher's counter of the message's first item. */
  origin?: number | undefined;
  /** Where the message is in the room's history. Such a message is not split. */
  position?: Position | undefined;
  /** Items of the publisher just before these that go no further, since they came before. */
  skipped?: Skipped | undefined;
};

/**
 * The part of a message that goes on: all but its first `repeats` items, which came before.
 * @param header of the message; its counter is that of the first of `items`
 */
export function partOf(header: PushHeader, items: Items, repeats: number, skipped?: Skipped): MessagePart {
  const { publisher, counter, at, id } = header;
  const whole: MessagePart = { publisher, first: counter, at, items, id, origin: counter, skipped };
  return repeats === 0 ? whole : afterItems(whole, repeats);
}

/**
 * Items `from` (included) to `to` (excluded) of a part. Their bytes are `start` to `end`, which the caller knows
 * already.
 */
export function slicePart(part: MessagePart, from: number, to: number, start: number, end: number): MessagePart {
  const { publisher, first, at, items, id, origin } = part;
  const slice = { lengths: items.lengths.subarray(from, to), bytes: items.bytes.subarray(start, end) };
  const skipped = from === 0 ? part.skipped : undefined;
  return { publisher, first: first + from, at, items: slice, id, origin, skipped };
}

/** The part without its first `count` items. */
export function afterItems(part: MessagePart, count: number): MessagePart {
  const { lengths, bytes } = part.items;
  let start = 0;
  for (let i = 0; i < count; i++) start += lengths[i]! + 1;
  return slicePart(part, count, lengths.length, Math.min(start, bytes.length), bytes.length);
}
