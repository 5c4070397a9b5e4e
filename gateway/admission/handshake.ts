import { matches } from '@pushcluster/protocol/pattern.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';

/** Why a handshake is refused: an HTTP status, a stable code and a sentence. */
export type Refusal = {
  status: 400 | 401 | 403 | 404 | 426 | 429 | 503;
  code: string;
  detail: string;
};

/** Codes of refused handshakes, as the metric has them. */
export const REFUSED_HANDSHAKES = [
  'version',
  'origin',
  'full',
  'rate',
  'per_ip',
  'token',
  'token_unchecked',
  'memory',
  'fds',
  'loop',
  'handshakes',
  'proxy_header',
] as const;

/** What is set for handshakes a second, for one shard: a token bucket of one second's worth. */
export class AcceptRate {
  #tokens = 0;
  #last = Number.NEGATIVE_INFINITY;

  /** @param perSecond 0: no limit @param now milliseconds */
  take(perSecond: number, now: number): boolean {
    if (perSecond <= 0) return true;
    const burst = Math.max(1, perSecond);
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, now - this.#last) / 1_000) * perSecond);
    this.#last = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

/** Whether a page of this origin may connect. No Origin: not a browser, allowed. */
export function originAllowed(origin: string, allowed: Settings['auth']['allowedOrigins']): boolean {
  return origin === '' || allowed.length === 0 || allowed.some((pattern) => matches(pattern, origin));
}

/** The first subprotocol offered that is served; undefined where none is. */
export function chooseSubprotocol(offered: string, served: readonly string[]): string | undefined {
  return offered
    .split(',')
    .map((name) => name.trim())
    .find((name) => served.includes(name));
}

/** Seconds to wait, jittered so that those who were refused together don't come back together. */
export function retryAfter(random: () => number = Math.random): number {
  return 1 + Math.floor(random() * 5);
}
