import type { CloseCode } from '@pushcluster/protocol/closeCodes.ts';

/** Codes of refused handshakes: values of the label `reason` of the metric `refused_total`. */
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

/** Why a handshake is refused. */
export type Refusal = {
  /** HTTP status of the answer. */
  status: 401 | 403 | 426 | 429 | 503;
  code: (typeof REFUSED_HANDSHAKES)[number];
  /** A sentence for the client's developer. */
  detail: string;
  /**
   * If set, a client of a subprotocol gets its WebSocket, closed with this code at once: a browser shows no HTTP status to
   * the page. Undefined: every client gets the HTTP answer.
   */
  closeCode?: CloseCode;
};

/** Seconds for Retry-After: 1 to 5, random, so that clients refused together do not come back together. */
export function retryAfterSeconds(random: () => number = Math.random): number {
  return 1 + Math.floor(random() * 5);
}
