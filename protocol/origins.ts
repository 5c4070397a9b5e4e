import { matches } from './pattern.ts';

/**
 * Patterns of origins, as settings list them: an origin as browsers send it (`https://example.com`, `http://[::1]:3000`, `null`),
 * with `*` for any run of characters.
 */

/** What a pattern looks like, but for spelling: a scheme, unless it begins with `*`, and a host; no path. Also for CRDs (RE2). */
export const ORIGIN_PATTERN =
  '^([Nn][Uu][Ll][Ll]|([A-Za-z*][-A-Za-z0-9+.*]*://|\\*)(\\[[0-9A-Fa-f:.*]+\\]|[^\\s/?#@:,;\\x22\\x27\\[\\]\\\\]*)(:[0-9*]{0,5})?/?)$';

/** What ORIGIN_PATTERN asks for, for a person. */
export const ORIGIN_FORM =
  'must be an origin such as https://example.com, https://*.example.com:8443 or null: a scheme and a host, without a path';

const SHAPE = new RegExp(ORIGIN_PATTERN);
const PARTS = /^(?:([^:/]+):\/\/)?(\[.*\]|[^:/]*)(?::([^/]*))?\/?$/;
const DEFAULT_PORTS = new Map([
  ['http', 80],
  ['https', 443],
]);

/**
 * A pattern as browsers spell what it is meant for: scheme and host in lower case, names in ASCII (xn--), no slash at the end,
 * no default port unless the host ends with `*`, which would match any port. Done twice it stays.
 * @throws RangeError with what is wrong and, where one can tell, the right spelling
 */
export function canonicalOriginPattern(pattern: string): string {
  if (!SHAPE.test(pattern)) throw new RangeError(`${ORIGIN_FORM}${suggestion(pattern)}`);
  if (/^null$/i.test(pattern)) return 'null';
  const [, written, host = '', port = ''] = PARTS.exec(pattern) ?? [];
  const scheme = schemeOf(written, port);
  if (scheme === undefined) return `${asciiHost(host)}${suffix(port)}`;
  const lower = scheme.toLowerCase();
  if (lower === 'ws' || lower === 'wss')
    throw new RangeError(
      `must be the origin of a page, which is never ${lower}: write ${lower.replace('ws', 'http')}://${host}`,
    );
  // What another scheme's host may be is for whoever made it: extensions, apps.
  const isWeb = DEFAULT_PORTS.has(lower) || lower.includes('*');
  if (host === '' && isWeb) throw new RangeError(ORIGIN_FORM);
  const usual = host.endsWith('*') ? undefined : DEFAULT_PORTS.get(lower);
  return `${lower}://${isWeb ? asciiHost(host) : host}${suffix(port, usual)}`;
}

/**
 * Whether a canonical pattern matches an origin as browsers send it: with no text for the default port, which `:*` matches as
 * well.
 */
export function matchesOrigin(pattern: string, origin: string): boolean {
  if (matches(pattern, origin)) return true;
  if (pattern.endsWith(':*')) return matches(pattern.slice(0, -2), origin);
  const usual = /^(https:.*):443$|^(http:.*):80$/.exec(pattern);
  return usual !== null && !/:\d+$/.test(origin) && matches(usual[1] ?? usual[2] ?? '', origin);
}

/** A scheme that could be any is the one whose own port is written: with that port no other's origin is meant. */
function schemeOf(written: string | undefined, port: string): string | undefined {
  if (port === '' || port.includes('*') || written?.includes('*') === false) return written;
  const pattern = (written ?? '*').toLowerCase();
  const [owner] = [...DEFAULT_PORTS].find(([name, usual]) => usual === Number(port) && matches(pattern, name)) ?? [];
  return owner ?? written;
}

function suffix(port: string, usual?: number): string {
  if (port.includes('*')) return `:${port}`;
  if (Number(port) > 65_535) throw new RangeError(`must have a port of at most 65535, not ${port}`);
  return port === '' || Number(port) === usual ? '' : `:${Number(port)}`;
}

/** As the URL parser of browsers has it; parts with a `*` are left as they are, in lower case. */
function asciiHost(host: string): string {
  if (!host.includes('*')) return hostname(host);
  if (host.startsWith('[')) return host.toLowerCase();
  return host
    .split('.')
    .map((label) => {
      const isAscii = /^[!-~]*$/.test(label);
      if (isAscii) return label.toLowerCase();
      if (label.includes('*')) throw new RangeError(`must have "${label}" in ASCII, as browsers send it (xn--…)`);
      return hostname(label);
    })
    .join('.');
}

function hostname(host: string): string {
  const url = URL.parse(`http://${host}`);
  if (!url) throw new RangeError(`must have a host, and ${host} is not a valid one`);
  return url.hostname;
}

/** The origin of a URL that was written in place of one. */
function suggestion(pattern: string): string {
  const url = [pattern, `https://${pattern}`].map((text) => URL.parse(text)).find((parsed) => parsed?.host);
  return url && /^https?:$/.test(url.protocol) ? `: write ${url.origin}` : '';
}
