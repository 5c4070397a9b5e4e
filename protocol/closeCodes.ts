/** WebSocket close codes: defined once, used by the gateway and by the SDK. */
export const CloseCode = {
  /** Malformed JSON, or frames too fast. */
  policy: 1008,
  /** A frame over the gateway's own limit. */
  tooBig: 1009,
  /** The gateway is leaving. */
  goingAway: 1012,
  /** The gateway is overloaded. */
  overloaded: 1013,
  /** The token expired and no fresh one came in time. */
  tokenExpired: 4001,
  /** A backend disconnected this user. */
  disconnected: 4002,
  /** The client reads too slowly. Best effort: 1006 after open means the same. */
  slowConsumer: 4003,
  /** The same user opened a newer connection, where one session per user is set. */
  replaced: 4004,
  /** No valid token (4401) or not allowed (4403): the refusals a browser could not see as HTTP. */
  unauthorized: 4401,
  forbidden: 4403,
} as const;

export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** Longest reason of a close frame, in bytes of UTF-8 (RFC 6455, 5.5). */
export const MAX_REASON_BYTES = 123;

/** `reason` as a close frame can hold it: cut between two characters where it is too long. */
export function closeReason(reason: string): string {
  const bytes = new TextEncoder().encode(reason);
  if (bytes.length <= MAX_REASON_BYTES) return reason;
  let end = MAX_REASON_BYTES;
  // 10xxxxxx goes on with a character that began before.
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

/**
 * What a client does after a close: come back (growing back-off), come back with a fresh token, come back and send at half
 * the pace, or stay away.
 */
export type Comeback = 'retry' | 'refresh' | 'slower' | 'stop';

/** How a client answers `code`. Codes that are not ours (1001, 1006, 1011, ...) mean: retry. */
export function comebackAfter(code: number): Comeback {
  switch (code) {
    case CloseCode.tokenExpired:
    case CloseCode.unauthorized:
      return 'refresh';
    case CloseCode.policy:
      return 'slower';
    case CloseCode.tooBig:
    case CloseCode.disconnected:
    case CloseCode.replaced:
    case CloseCode.forbidden:
      return 'stop';
    default:
      return 'retry';
  }
}
