import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';

/** How long a client waits before it reconnects. Times in milliseconds. */
export type Backoff = {
  /** Upper limit of the first wait. The limit doubles with each failed attempt. */
  base: number;
  /** Upper limit of any wait. */
  cap: number;
  /** A connection that stayed open for this long was a success: the next wait starts from `base` again. */
  stable: number;
};

export const defaultBackoff: Backoff = { base: 500, cap: 30_000, stable: 10_000 };

/** Doublings at least, by close code. All clients of a gateway get these codes at once, so they need a wider window. */
const DOUBLINGS: Record<number, number> = { [CloseCode.goingAway]: 2, [CloseCode.overloaded]: 4 };

/**
 * Milliseconds until the next attempt, with full jitter.
 *
 * @param failures attempts that failed since the last success
 * @param code close code of the last connection
 * @param random a number from 0 to 1
 */
export function retryDelay(failures: number, code: number, { base, cap }: Backoff, random: number): number {
  // As the protocol's fullJitter, in less code.
  return random * Math.min(cap, base * 2 ** Math.min(Math.max(failures, DOUBLINGS[code] ?? 0), 31));
}
