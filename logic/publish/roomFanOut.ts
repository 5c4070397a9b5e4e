import { BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import type { ErrorCode } from '../errors/errorCatalogue.ts';
import { translateBusError } from '../errors/errorTranslation.ts';

/** Bytes of a push to many rooms that are sent before their confirmation is awaited: far below what the bus refuses (BusOverloaded). */
export const WAVE_BYTES = 8_388_608;

export type RoomFailure = { room: string; code: ErrorCode };

/** Where a push is in the history of a room. */
export type RoomPosition = { room: string; seq: number; epoch: string };

/** What became of a push: rooms that failed, and the positions in rooms that have a history. */
export type Published = { failures: RoomFailure[]; stored: RoomPosition[] };

/**
 * Publishes one push to each of `rooms`, in waves that the bus can hold.
 * Rejects if every room failed: with BusUnavailable if nothing was sent, with BusUnconfirmed if something may have been.
 * @param bytes of the push in one room
 * @param publish publishes the push to one room; it sends before it returns
 */
export async function fanOut(
  rooms: readonly string[],
  bytes: number,
  publish: (room: string) => Promise<RoomPosition | undefined>,
): Promise<Published> {
  const wave = Math.max(1, Math.floor(WAVE_BYTES / bytes));
  const outcomes: PromiseSettledResult<RoomPosition | undefined>[] = [];
  for (let from = 0; from < rooms.length; from += wave)
    outcomes.push(...(await Promise.allSettled(rooms.slice(from, from + wave).map(publish))));
  const failures: RoomFailure[] = [];
  const stored: RoomPosition[] = [];
  let unconfirmed: unknown;
  let unavailable: unknown;
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') {
      if (outcome.value) stored.push(outcome.value);
      continue;
    }
    const error: unknown = outcome.reason;
    const problem = translateBusError(error);
    if (!problem) throw error;
    if (error instanceof BusUnavailable) unavailable = error;
    else unconfirmed = error;
    failures.push({ room: rooms[i]!, code: problem.code });
  }
  // If no room was reached for certain, one that may have been reached makes the whole push unconfirmed.
  if (failures.length === rooms.length) throw unconfirmed ?? unavailable;
  return { failures, stored };
}
