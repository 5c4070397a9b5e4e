import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { z } from 'zod';

/**
 * Why a request failed, and what to do:
 * - conflict: the object was changed meanwhile; read it again
 * - taken: the name belongs to an object of somebody else; an administrator has to act
 * - leaving: the name belongs to an object of a deleted owner and will be free soon
 * - notFound: the object or the kind does not exist
 * - expired: a resourceVersion or the page of a list is too old; list again
 * - forbidden: RBAC, quota or admission; an administrator has to act
 * - invalid: the object is invalid; an administrator has to act
 * - unavailable: the API server, or a webhook that it calls, did not respond; retry
 */
export type KubeErrorReason =
  | 'conflict'
  | 'taken'
  | 'leaving'
  | 'notFound'
  | 'expired'
  | 'forbidden'
  | 'invalid'
  | 'unavailable';

/** A failed request. The message is that of the API server if there was a response. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly reason: KubeErrorReason;
  /** HTTP status; 0 if there was no response. */
  readonly code: number;
  /** Retry-After of the response, milliseconds. */
  readonly retryAfter: number | undefined;

  constructor(
    reason: KubeErrorReason,
    message: string,
    more: { code?: number; retryAfter?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.reason = reason;
    this.code = more.code ?? 0;
    this.retryAfter = more.retryAfter;
  }
}

/** Whether there was no response at all. */
export function isSilence(error: KubeError): boolean {
  return error.reason === 'unavailable' && error.code === 0;
}

export function isKubeError(error: unknown, ...reasons: KubeErrorReason[]): error is KubeError {
  return error instanceof KubeError && (reasons.length === 0 || reasons.includes(error.reason));
}

/**
 * How the message begins if an applied object has a field that its kind does not have, or of another type. The API server
 * answers with status 500.
 */
const NOT_TYPED = 'failed to create typed patch object';

/** The Status object, with which the API server reports an error. */
const Status = z.object({ message: z.string().optional(), reason: z.string().optional(), code: z.number().optional() });

/**
 * The error of an unsuccessful response. If its body is not a Status, the message is the body, up to 300 characters.
 */
export function errorOfAnswer(code: number, body: string, headers: Record<string, string> = {}): KubeError {
  const seconds = Number(headers['retry-after']);
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : undefined;
  const said = saidIn(body);
  const reason = said?.startsWith(NOT_TYPED) ? 'invalid' : reasonOf(code);
  return new KubeError(reason, said ?? `the API server returned status ${code}`, { code, retryAfter });
}

/** The error of the Status object that ends a watch. */
export function errorOfStatus(status: unknown): KubeError {
  const { code = 500, message } = Status.catch({}).parse(status);
  return new KubeError(reasonOf(code), message ?? `the API server ended the watch with status ${code}`, { code });
}

/** The error of a request without a response. */
export function errorOfSilence(error: unknown, what: string): KubeError {
  if (error instanceof KubeError) return error;
  return new KubeError('unavailable', `${what}: ${causeOf(error)}`, { cause: error });
}

function reasonOf(code: number): KubeErrorReason {
  if (code === 401 || code === 403) return 'forbidden';
  if (code === 404) return 'notFound';
  if (code === 409) return 'conflict';
  if (code === 410) return 'expired';
  if (code === 408 || code === 429 || code >= 500) return 'unavailable';
  return 'invalid';
}

function saidIn(body: string): string | undefined {
  const status = parseJson(body, Status);
  if (status?.message) return status.message;
  // The response of a proxy, for example HTML or plain text.
  const text = body.trim().slice(0, 300);
  return text === '' ? undefined : text;
}

/** A handler of rejections that ignores errors of one reason. */
export function ignoring(reason: KubeErrorReason): (error: unknown) => undefined {
  return (error) => {
    if (!isKubeError(error, reason)) throw error;
  };
}

/** The innermost cause: the message of fetch itself only says that it failed. */
function causeOf(error: unknown): string {
  let found = error;
  while (found instanceof Error && found.cause instanceof Error) found = found.cause;
  return found instanceof Error ? found.message || found.name : String(found);
}
