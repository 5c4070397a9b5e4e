import { BusOverloaded, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { HistoryRefused } from '@pushcluster/runtime/history/historyStore.ts';
import { bodyTooLarge } from '../items/pushLimits.ts';
import { Problem, retryAfterHeader } from './problem.ts';

/**
 * The Problem that answers `error`, whatever was thrown: by us, by the bus, or by fastify. An unexpected error becomes
 * Problem internal, which says nothing of its cause.
 * @param bodyLimit largest body in bytes
 */
export function translateError(error: unknown, bodyLimit: number): Problem {
  if (error instanceof Problem) return error;
  return translateBusError(error) ?? translateFastifyError(error, bodyLimit);
}

/** The Problem for an error of the bus; undefined for any other error. */
export function translateBusError(error: unknown): Problem | undefined {
  // BusOverloaded is a BusUnavailable too, so it comes first.
  if (error instanceof BusOverloaded)
    return new Problem(
      'overloaded',
      'Too many bytes are waiting for the bus to confirm them; nothing of this push was sent. Try again.',
      { headers: retryAfterHeader(1) },
    );
  if (error instanceof BusUnavailable) {
    const why =
      error.cause instanceof HistoryRefused
        ? `The store of histories refuses: ${error.message}`
        : 'The bus is unavailable';
    return new Problem('bus_unavailable', `${why}; nothing was sent or will be. Try again.`, {
      headers: retryAfterHeader(1),
    });
  }
  if (error instanceof BusUnconfirmed)
    return new Problem(
      'bus_unconfirmed',
      'The bus did not confirm the push: the items may or may not have been delivered. A retry with the same id is harmless.',
      { headers: retryAfterHeader(1) },
    );
  return undefined;
}

function translateFastifyError(error: unknown, bodyLimit: number): Problem {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return bodyTooLarge(bodyLimit);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Problem('unsupported_media_type', 'This route does not support this Content-Type.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new Problem('bad_request', 'The length of the body differs from Content-Length.');
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new Problem('bad_request', 'The path is not valid percent-encoded UTF-8, or a name in it is too long.');
  }
  if (error instanceof Error && typeof status === 'number' && status >= 400 && status < 500)
    return new Problem('bad_request', error.message);
  return new Problem('internal', 'An internal error occurred; the log of this process has the cause.');
}
