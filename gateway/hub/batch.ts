import type { Position } from '@pushcluster/protocol/frames.ts';
import type { MessagePart } from './messagePart.ts';

/**
 * What leaves a window: the items of one frame, in publish order, and what is to be told of items that will not come.
 */
export type Batch = {
  parts: MessagePart[];
  /** Items in `parts`. */
  items: number;
  /** Items that the overload policy cut since it was last told. */
  cut: number;
  /**
   * Items that were lost on the bus before the first of `parts`, or after the last: a frame can't tell of them within.
   */
  lost: { before: number; after: number };
  /** The room's history is interrupted, and goes on after this number: told after all else. */
  reset?: Position;
  /** Milliseconds from the first item's arrival to now. */
  waited: number;
};
