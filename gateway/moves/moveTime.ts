import type { MoveTime } from '../ipc/move.ts';

/** A v1 client gets at least this long to move, milliseconds: to join elsewhere and to receive the last window here. */
const MOVE_WITHIN_MS = 8_000;
/** What an item may take besides the window on its way to a client, milliseconds: bus, hub, shard and network. */
const DELIVERY_MS = 1_000;

/**
 * The time that a v1 client needs to move without missing an item.
 *
 * @param longest the longest merge window of any room, milliseconds
 */
export function moveTime(longest: number): MoveTime {
  return { withinMs: Math.max(MOVE_WITHIN_MS, 3 * longest), overlapMs: longest + DELIVERY_MS };
}
