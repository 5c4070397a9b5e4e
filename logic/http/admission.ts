import type { IncomingMessage } from 'node:http';
import type { ApiKeys } from '../access/apiKeys.ts';
import type { Caller } from '../access/authorization.ts';
import { requireLoopback } from '../access/loopbackGuard.ts';
import { admitOrigin } from '../access/originPolicy.ts';
import { requireSingleHeaders, requireUnambiguous, requireUncompressed } from './requestChecks.ts';

export type AdmissionOptions = {
  keys: ApiKeys;
  /** Patterns of origins whose pages may use the API. */
  allowedOrigins: () => readonly string[];
};

/** Who makes a request while no API keys are configured: a program on this machine (loopbackGuard.ts). */
const LOOPBACK: Caller = { name: 'loopback', scope: undefined };

/**
 * Admits a request before its API key is looked at, or throws a Problem.
 * @param target the request target as sent
 * @returns the origin of another site's page that may read the response; undefined for any other sender
 */
export function admit(
  request: IncomingMessage,
  target: string,
  { keys, allowedOrigins }: AdmissionOptions,
): string | undefined {
  const { headers, method = '', rawHeaders, httpVersion: version } = request;
  requireUnambiguous(request);
  requireSingleHeaders(rawHeaders, headers);
  if (!keys.required) requireLoopback({ target, version, peer: request.socket.remoteAddress, headers });
  const origin = admitOrigin({ method, headers }, allowedOrigins());
  requireUncompressed(headers['content-encoding']);
  return origin;
}

/** Who makes a request. Throws Problem unauthorized without a valid API key, if any is configured. */
export function identify({ headers }: Pick<IncomingMessage, 'headers'>, keys: ApiKeys): Caller {
  return keys.required ? keys.identify(headers.authorization) : LOOPBACK;
}
