import type { ErrorCode } from '@pushcluster/protocol/frames.ts';

/**
 * What went wrong: a gateway's refusal, a broken frame, a token source that failed, a WebSocket that could not be made
 * or sends nothing, or a connection that ended for good.
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
