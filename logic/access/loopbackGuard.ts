import type { IncomingHttpHeaders } from 'node:http';
import { Problem } from '../errors/problem.ts';

/** What tells where a request comes from. */
export type Sender = {
  /** The request target as sent: a path, or a whole URL as clients send it to a proxy. */
  target: string;
  /** HTTP version: `1.1` or `1.0`. */
  version: string;
  /** Address of the peer; undefined once the connection is gone. */
  peer: string | undefined;
  headers: IncomingHttpHeaders;
};

/** Headers that proxies add, in lower case: parts of names, and beginnings. */
const PROXY_HEADERS =
  /forwarded|proxy|(client|real)-?ip|^(via|cdn-loop|max-forwards|surrogate-|front-end-https|akamai-|cf-|fastly-|fly-)|^x-(akamai-|amzn-|appengine-|arr-|azure-|client-|cloud-trace-|cluster-|envoy-|host|istio-|nf-|nginx-|original-|remote-|scheme|traefik-|url-scheme|varnish|vercel-)/;

/**
 * Without API keys only programs on this machine are served. Throws Problem loopback_only for anyone else:
 * - the peer's address must be loopback;
 * - the Host must name loopback, or a page whose name resolves to 127.0.0.1 could push (DNS rebinding);
 * - nothing may show that a proxy passed the request on: it comes from elsewhere even if the proxy runs here.
 * A proxy that leaves no trace can't be told from a program on this machine.
 */
export function requireLoopback({ peer, target, version, headers }: Sender): void {
  if (!isOwnAddress(peer)) throw loopbackOnly('only requests from this machine are served');
  if (!isLoopbackHost(headers.host)) throw loopbackOnly('the Host must be localhost, 127.0.0.1 or [::1]');
  // The authority of a whole URL replaces the Host (RFC 9112, 3.2.2).
  const [, authority] = /^[a-z][a-z\d+.-]*:\/\/([^/?#]*)/i.exec(target) ?? [];
  if (authority !== undefined && !isLoopbackHost(authority))
    throw loopbackOnly('a request for the URL of another host is not served');
  // Proxies speak HTTP/1.0 to their backends by default. Hardly any other client does.
  if (version !== '1.1') throw loopbackOnly(`HTTP/${version}, which proxies use, is not served`);
  const name = Object.keys(headers).find((header) => PROXY_HEADERS.test(header));
  if (name !== undefined)
    throw loopbackOnly(`requests passed on by a proxy are not served (it has the header ${name.slice(0, 50)})`);
}

function loopbackOnly(reason: string): Problem {
  return new Problem('loopback_only', `No API keys are configured (logic.apiKeys), so ${reason}.`);
}

/** Programs on this machine connect from these. Other addresses of 127.0.0.0/8 are a proxy's: 127.0.0.6 is Istio's sidecar. */
function isOwnAddress(address: string | undefined): boolean {
  return address !== undefined && /^(::1|(::ffff:)?127\.0\.0\.1)$/i.test(address);
}

function isLoopbackHost(host: string | undefined): boolean {
  return (
    host !== undefined &&
    /^(localhost|[a-z0-9-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])\.?(:\d+)?$/i.test(host)
  );
}
