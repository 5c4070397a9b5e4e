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

/** What a client does after a close: come back (growing back-off), come back with a fresh token, or stay away. */
export type Comeback = 'retry' | 'refresh' | 'stop';

/** How a client answers `code`. Codes that are not ours (1001, 1006, 1011, ...) mean: retry. */
export function comebackAfter(code: number): Comeback {
  switch (code) {
    case CloseCode.tokenExpired:
    case CloseCode.unauthorized:
      return 'refresh';
    case CloseCode.policy:
    case CloseCode.tooBig:
    case CloseCode.disconnected:
    case CloseCode.replaced:
    case CloseCode.forbidden:
      return 'stop';
    default:
      return 'retry';
  }
}
