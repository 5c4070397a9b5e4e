import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';

/** How a client spreads its returns. Times in milliseconds. */
export type Backoff = {
  /** The first window: a client returns at a random moment in it. Each failure doubles it. */
  base: number;
  /** The widest window. */
  cap: number;
  /** A connection that stayed open for this long was a success: the windows begin small again. */
  stable: number;
};

export const defaultBackoff: Backoff = { base: 500, cap: 30_000, stable: 10_000 };

// Whole rooms get these at once: they need a wider window than one client's mishap.
const SPREAD: Record<number, number> = { [CloseCode.goingAway]: 4, [CloseCode.overloaded]: 16 };

/**
 * Milliseconds until the next attempt: full jitter over a window that grows.
 *
 * @param failures attempts that failed since the last success
 * @param code of the last close
 * @param random 0 to 1
 */
export function retryDelay(failures: number, code: number, backoff: Backoff, random: number): number {
  // Not beyond what is finite: nothing times that is no number.
  const factor = Math.max(2 ** Math.min(failures, 31), SPREAD[code] ?? 1);
  return random * Math.min(backoff.cap, backoff.base * factor);
}
