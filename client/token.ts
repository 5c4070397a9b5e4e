export type Token = string | null | undefined;

/** A token, or a function that returns one, or none to connect without. It is called before each connect, and before a token expires. */
export type TokenSource = string | (() => Token | Promise<Token>);

/** Shortest time to a refresh, milliseconds: a source of nearly expired tokens must not cause a loop. */
const SOONEST = 5_000;
/** Time that a token is still valid when it is replaced, milliseconds, if 20 % of its life is less. */
const MARGIN = 30_000;

/**
 * Milliseconds until a JWT should be replaced; undefined if it has no `exp`. It is read and not verified: the gateway
 * verifies it.
 *
 * @param now milliseconds since the epoch
 */
export function refreshDelay(token: string, now: number): number | undefined {
  const { exp, iat } = claims(token);
  if (!isTime(exp)) return undefined;
  let left = exp * 1000 - now;
  // The gateway accepted the token, so an impossible age means that the local clock is wrong: use the token's own lifetime.
  if (isTime(iat) && (left <= 0 || left > (exp - iat) * 1000)) left = (exp - iat) * 1000;
  return Math.max(SOONEST, Math.min(left * 0.8, Math.max(left / 2, left - MARGIN)));
}

/** JSON may hold 1e999, which is Infinity. */
const isTime: (value: unknown) => value is number = Number.isFinite as never;

function claims(token: string): { exp?: unknown; iat?: unknown } {
  try {
    return Object(JSON.parse(atob(token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'))));
  } catch {
    return {};
  }
}
