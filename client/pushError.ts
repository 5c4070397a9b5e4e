import type { ErrorCode } from '@pushcluster/protocol/frames.ts';

/**
 * What failed. A code of the protocol: a gateway refused a request. `closed`: the connection ended for good. `token`: the token
 * callback failed. `connect`: the WebSocket could not be created, or failed to send. `frame`: a frame was malformed.
 */
export type PushErrorCode = ErrorCode | 'closed' | 'token' | 'connect' | 'frame';

export class PushError extends Error {
  override name = 'PushError';
  readonly code: PushErrorCode;

  constructor(code: PushErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
