import type { IncomingHttpHeaders } from 'node:http';
import { matchesOrigin } from '@pushcluster/protocol/origins.ts';
import { Problem } from '../errors/problem.ts';

/**
 * Decides whether the page that sends a request may use the API. Returns the origin of another site that may read the
 * response (for the CORS headers), undefined for backends and for pages of this server.
 * Throws Problem origin_forbidden for a page whose origin matches no pattern of `allowed`.
 */
export function admitOrigin(
  { method, headers }: { method: string; headers: IncomingHttpHeaders },
  allowed: readonly string[],
): string | undefined {
  const { origin, host } = headers;
  if (origin === undefined) {
    // A browser that sends a form without Origin still says that the form is of another site.
    const site = headers['sec-fetch-site'];
    if (method !== 'GET' && method !== 'HEAD' && (site === 'cross-site' || site === 'same-site'))
      throw forbidden('another site');
    return undefined;
  }
  if (origin === `http://${host}` || origin === `https://${host}`) return undefined;
  if (allowed.some((pattern) => matchesOrigin(pattern, origin))) return origin;
  throw forbidden(origin.slice(0, 200));
}

function forbidden(origin: string): Problem {
  return new Problem(
    'origin_forbidden',
    `Pages of ${origin} are not allowed to use this API; the setting logic.allowedOrigins lists those that are.`,
  );
}
