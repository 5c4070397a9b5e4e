import { z } from 'zod';

/**
 * What kind of refusal it is, and so what to do:
 * - conflict: somebody else was first; look again
 * - taken: the name belongs to somebody else's object; a person has to do something
 * - leaving: the name belongs to what a deleted owner of the same name has left, and is soon free
 * - notFound: there is no such object, or no such kind
 * - expired: a resourceVersion or a page of a list is too old; list anew
 * - forbidden: rights, quota or admission; a person has to do something
 * - invalid: the object itself is wrong; a person has to do something
 * - unavailable: nobody answered, or not now, or a webhook that was to be asked did not; try again
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

/** What the API server said, in its own words. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly reason: KubeErrorReason;
  /** HTTP status; 0 where there was no answer. */
  readonly code: number;
  /** Milliseconds after which the server wants to be asked again, where it said so. */
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

/** Whether there was no answer at all. */
export function isSilence(error: KubeError): boolean {
  return error.reason === 'unavailable' && error.code === 0;
}

export function isKubeError(error: unknown, ...reasons: KubeErrorReason[]): error is KubeError {
  return error instanceof KubeError && (reasons.length === 0 || reasons.includes(error.reason));
}

/** The API's Status object: what it answers in place of what was asked for. */
const Status = z.object({ message: z.string().optional(), reason: z.string().optional(), code: z.number().optional() });

/** An error of an answer that is no success. A body that is no Status is told as it is, up to 300 characters. */
export function errorOfAnswer(code: number, body: string, headers: Record<string, string> = {}): KubeError {
  const seconds = Number(headers['retry-after']);
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : undefined;
  return new KubeError(reasonOf(code), saidIn(body) ?? `the API server answered ${code}`, { code, retryAfter });
}

/** An error of the Status object that ends a watch. */
export function errorOfStatus(status: unknown): KubeError {
  const { code = 500, message } = Status.catch({}).parse(status);
  return new KubeError(reasonOf(code), message ?? `the API server ended it with ${code}`, { code });
}

/** An error of a request that got no answer. */
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
  try {
    const status = Status.safeParse(JSON.parse(body));
    if (status.success && status.data.message) return status.data.message;
  } catch {
    // A proxy's page, or plain text.
  }
  const text = body.trim().slice(0, 300);
  return text === '' ? undefined : text;
}

/** fetch says no more than that it failed; why is further down. */
function causeOf(error: unknown): string {
  let found = error;
  while (found instanceof Error && found.cause instanceof Error) found = found.cause;
  return found instanceof Error ? found.message || found.name : String(found);
}
