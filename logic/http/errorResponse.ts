import { clipped } from '@pushcluster/runtime/clipped.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { translateError } from '../errors/errorTranslation.ts';

export type ErrorLog = Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;

/**
 * Logs `error`, whatever was thrown, and answers it as a problem document (RFC 9457).
 * @param bodyLimit largest body in bytes
 * @param cors headers that let the page that asked read the response
 */
export function respondWithError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { log, bodyLimit, cors }: { log: ErrorLog; bodyLimit: number; cors: Record<string, string> },
): void {
  const problem = translateError(error, bodyLimit);
  const { status, code } = problem;
  const fields = {
    code,
    status,
    method: request.method,
    path: clippedPath(request.url),
    peer: request.ip,
    ...(request.caller ? { caller: request.caller.name } : {}),
  };
  if (code === 'internal') log.error({ ...fields, err: error }, 'request failed');
  else {
    const level = status < 500 && status !== 401 && status !== 403 && status !== 429 ? 'info' : 'warn';
    log[level]({ ...fields, detail: problem.message }, 'request refused');
  }
  reply
    .code(status)
    .headers(cors)
    .headers(problem.headers)
    .header('content-type', 'application/problem+json')
    .send(Buffer.from(problem.toJson()));
}

/** The path of `url` without its query, which may hold names, cut to 200 characters. */
export function clippedPath(url: string | undefined): string {
  return clipped((url ?? '').split('?', 1)[0]!, 200);
}
