import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';
import { admitOrigin } from '../access/originPolicy.ts';

/** The headers that let a page of `origin` read a response. */
export function corsHeaders(origin: string): Record<string, string> {
  return { 'access-control-allow-origin': origin, vary: 'Origin', 'access-control-expose-headers': 'retry-after' };
}

/** The CORS headers of an error response: none if the origin is not allowed. @param allowed patterns of origins */
export function corsHeadersOfError(
  request: { method: string; headers: IncomingHttpHeaders },
  allowed: readonly string[],
): Record<string, string> {
  try {
    const origin = admitOrigin(request, allowed);
    return origin === undefined ? {} : corsHeaders(origin);
  } catch {
    return {};
  }
}

/** Answers a preflight request of an allowed origin; returns whether it was one. */
export function answerPreflight(
  { method, headers }: { method: string; headers: IncomingHttpHeaders },
  reply: FastifyReply,
): boolean {
  if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return false;
  reply
    .removeHeader('access-control-expose-headers')
    .header('access-control-allow-methods', 'GET, POST')
    .header('access-control-allow-headers', 'authorization, content-type')
    .header('access-control-max-age', '600');
  // Browsers ask for this too if the page is of a less private network than the API, such as a public one and loopback.
  if (headers['access-control-request-private-network'] === 'true')
    reply.header('access-control-allow-private-network', 'true');
  reply.code(204).send();
  return true;
}
