type Token = string | null | undefined;

/** Gives a token, or none for who connects without: at each connect, and again before the last one expires. */
export type TokenSource = string | (() => Token | Promise<Token>);

/** Soonest refresh, in milliseconds: a source that returns a nearly expired token must not make us spin. */
const SOONEST = 5_000;
/** What is left of a token when it is replaced, in milliseconds, where 80 % of its life would leave less. */
const MARGIN = 30_000;

/**
 * Milliseconds after which a JWT should be replaced; undefined where it says nothing of its end. It is read, not
 * verified: that is the gateway's part.
 *
 * @param now milliseconds since the epoch
 */
export function refreshDelay(token: string, now: number): number | undefined {
  const { exp, iat } = claims(token);
  if (!isTime(exp)) return undefined;
  let left = exp * 1000 - now;
  // The gateway took the token, so an impossible age means that the clock here is wrong: trust the token's own span.
  if (isTime(iat) && (left <= 0 || left > (exp - iat) * 1000)) left = (exp - iat) * 1000;
  return Math.max(SOONEST, Math.min(left * 0.8, Math.max(left / 2, left - MARGIN)));
}

/** JSON can say 1e999. */
function isTime(value: unknown): value is number {
  return Number.isFinite(value);
}

function claims(token: string): { exp?: unknown; iat?: unknown } {
  try {
    return Object(JSON.parse(atob(token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'))));
  } catch {
    return {};
  }
}
