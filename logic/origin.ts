import type { IncomingHttpHeaders } from 'node:http';
import { matches } from '@pushcluster/protocol/pattern.ts';
import { Problem } from './problems.ts';

/** What admission looks at, of a request. */
export type Approach = {
  method: string;
  /** What is asked for: a path, or a whole URL as proxies are asked. */
  target: string;
  /** `1.1`, or what an old proxy speaks. */
  version: string;
  /** Address of the peer; undefined once it is gone. */
  peer: string | undefined;
  headers: IncomingHttpHeaders;
};

/** Headers by which a request says that it came through a proxy, in lower case: parts of names, and beginnings. */
const PROXIED =
  /forwarded|proxy|(client|real)-?ip|^(via|cdn-loop|max-forwards|surrogate-|front-end-https|akamai-|cf-|fastly-|fly-)|^x-(akamai-|amzn-|appengine-|arr-|azure-|client-|cloud-trace-|cluster-|envoy-|host|istio-|nf-|nginx-|original-|remote-|scheme|traefik-|url-scheme|varnish|vercel-)/;

/** Headers of which a request has one at most: of two lines, each reader on the way could take another. */
const SINGLE = ['host', 'origin', 'authorization', 'content-length', 'content-type', 'content-encoding'];

/**
 * Throws Problem bad_request where a header stands in two lines that may stand in one only.
 * @param raw names and values as they came, in turn
 */
export function requireSingleHeaders(raw: readonly string[], headers: IncomingHttpHeaders): void {
  if (raw.length === 2 * Object.keys(headers).length) return;
  const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
  const twice = SINGLE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice !== undefined) throw new Problem('bad_request', `The request has more than one ${twice} header.`);
}

/**
 * Without API keys only this machine is served: throws Problem loopback_only for others. The Host must name loopback
 * too, or a page whose name was made to resolve to 127.0.0.1 could push (DNS rebinding); and what a proxy hands on
 * comes from elsewhere, however near the proxy is. A proxy that hides itself well can't be told from a program here.
 */
export function requireLoopback({ peer, target, version, headers }: Approach): void {
  if (!isOwnAddress(peer)) throw loopbackOnly('only loopback is served');
  if (!isLoopbackHost(headers.host)) throw loopbackOnly('only Host localhost, 127.0.0.1 and [::1] are served');
  // The authority of a whole URL counts in place of the Host (RFC 9112, 3.2.2).
  const [, authority] = /^[a-z][a-z\d+.-]*:\/\/([^/?#]*)/i.exec(target) ?? [];
  if (authority !== undefined && !isLoopbackHost(authority))
    throw loopbackOnly('a URL of another host, which proxies are asked for, is not served');
  // What proxies speak to those behind them unless told otherwise, and hardly anyone else.
  if (version !== '1.1') throw loopbackOnly(`HTTP/${version}, which proxies speak, is not served`);
  const sign = Object.keys(headers).find((name) => PROXIED.test(name));
  if (sign !== undefined)
    throw loopbackOnly(`what a proxy hands on is not served (it has the header ${sign.slice(0, 50)})`);
}

/**
 * The origin of another site that may read the answer (for the CORS headers); undefined for backends and own pages.
 * Throws Problem origin_forbidden for a page of an origin that is not in `allowed`.
 */
export function admitOrigin(
  { method, headers }: Pick<Approach, 'method' | 'headers'>,
  allowed: readonly string[],
): string | undefined {
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

function loopbackOnly(what: string): Problem {
  return new Problem('loopback_only', `No API keys are configured (logic.apiKeys), so ${what}.`);
}

/** What programs on this machine come from. Another one of 127.0.0.0/8 is a proxy's: 127.0.0.6 is Istio's sidecar. */
function isOwnAddress(address: string | undefined): boolean {
  return address !== undefined && /^(::1|(::ffff:)?127\.0\.0\.1)$/i.test(address);
}

function isLoopbackHost(host: string | undefined): boolean {
  return (
    host !== undefined &&
    /^(localhost|[a-z0-9-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])\.?(:\d+)?$/i.test(host)
  );
}
