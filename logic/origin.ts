import { matches } from '@pushcluster/protocol/pattern.ts';
import { Problem } from './problems.ts';

/** What admission looks at, of a request. */
export type Approach = {
  method: string;
  /** Address of the peer; undefined once it is gone. */
  peer: string | undefined;
  headers: {
    host?: string | undefined;
    origin?: string | undefined;
    'sec-fetch-site'?: string | string[] | undefined;
    forwarded?: string | undefined;
    'x-forwarded-for'?: string | string[] | undefined;
  };
};

/**
 * Without API keys only this machine is served: throws Problem loopback_only for others. The Host must name loopback
 * too, or a page whose name was made to resolve to 127.0.0.1 could push (DNS rebinding); and what a proxy forwards
 * comes from elsewhere, however near the proxy is.
 */
export function requireLoopback({ peer, headers }: Approach): void {
  if (!isLoopbackAddress(peer))
    throw new Problem('loopback_only', 'No API keys are configured (logic.apiKeys), so only loopback is served.');
  if (!isLoopbackHost(headers.host))
    throw new Problem(
      'loopback_only',
      'No API keys are configured (logic.apiKeys), so only Host localhost, 127.0.0.1 and [::1] are served.',
    );
  if (headers.forwarded !== undefined || headers['x-forwarded-for'] !== undefined)
    throw new Problem(
      'loopback_only',
      'No API keys are configured (logic.apiKeys), so what a proxy forwards is not served.',
    );
}

/**
 * The origin of another site that may read the answer (for the CORS headers); undefined for backends and own pages.
 * Throws Problem origin_forbidden for a page of an origin that is not in `allowed`.
 */
export function admitOrigin({ method, headers }: Approach, allowed: readonly string[]): string | undefined {
  const { origin, host } = headers;
  if (origin === undefined) {
    // A browser that hides the origin of a form still says that it comes from another site.
    const site = headers['sec-fetch-site'];
    if (method !== 'GET' && method !== 'HEAD' && (site === 'cross-site' || site === 'same-site'))
      throw forbidden('another site');
    return undefined;
  }
  if (origin === `http://${host}` || origin === `https://${host}`) return undefined;
  if (allowed.some((pattern) => matches(pattern, origin))) return origin;
  throw forbidden(origin.slice(0, 200));
}

function forbidden(origin: string): Problem {
  return new Problem(
    'origin_forbidden',
    `Pages of ${origin} may not use this API; logic.allowedOrigins lists who may.`,
  );
}

export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  return address === '::1' || /^(::ffff:)?127\.\d+\.\d+\.\d+$/i.test(address);
}

function isLoopbackHost(host: string | undefined): boolean {
  return (
    host !== undefined &&
    /^(localhost|[a-z0-9-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])\.?(:\d+)?$/i.test(host)
  );
}
