/**
 * What is left of a count after `seconds` of leaking `rate` a second: the arithmetic of a token bucket (runtime/tokenBucket.ts)
 * seen from the other side, with tokens that are used instead of tokens that are left. A TokenBucket for each connection, or
 * tokens as fractions, would be an object more for each connection. Whole seconds and whole counts are stored in the
 * connection itself.
 */
export function leaked(count: number, rate: number, seconds: number): number {
  return Math.max(0, count - rate * seconds);
}
