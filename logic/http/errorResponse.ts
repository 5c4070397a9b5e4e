import type { IncomingMessage } from 'node:http';
import { clipped } from '@pushcluster/runtime/clipped.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Caller } from '../access/authorization.ts';
import { translateError } from '../errors/errorTranslation.ts';
import type { Problem } from '../errors/problem.ts';

/** Media type of a problem document. */
export const PROBLEM_TYPE = 'application/problem+json';

export type ErrorLog = Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;

/** A request that failed, as the log names it. */
export type FailedRequest = Pick<IncomingMessage, 'method' | 'url'> & {
  peer: string | undefined;
  caller: Caller | null;
};

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
  const { method, url, ip: peer, caller } = request;
  const problem = loggedProblem(error, { method, url, peer, caller }, { log, bodyLimit });
  reply
    .code(problem.status)
    .headers(cors)
    .headers(problem.headers)
    .header('content-type', PROBLEM_TYPE)
    .send(Buffer.from(problem.toJson()));
}

/** The problem that answers `error`, whatever was thrown, in the log. @param bodyLimit largest body in bytes */
export function loggedProblem(
  error: unknown,
  { method, url, peer, caller }: FailedRequest,
  { log, bodyLimit }: { log: ErrorLog; bodyLimit: number },
): Problem {
  const problem = translateError(error, bodyLimit);
  const { status, code } = problem;
  const fields = {
    code,
    status,
    method,
    path: clippedPath(url),
    peer,
    ...(caller ? { caller: caller.name } : {}),
  };
  if (code === 'internal') log.error({ ...fields, err: error }, 'request failed');
  else {
    const level = status < 500 && status !== 401 && status !== 403 && status !== 429 ? 'info' : 'warn';
    log[level]({ ...fields, detail: problem.message }, 'request refused');
  }
  return problem;
}

/** The path of `url` without its query, which may hold names, cut to 200 characters. */
export function clippedPath(url: string | undefined): string {
  return clipped((url ?? '').split('?', 1)[0]!, 200);
}
