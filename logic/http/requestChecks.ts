import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Problem } from '../errors/problem.ts';

/** Headers that a request has once at most: given two, readers along the way could each take another one. */
const SINGLE = ['host', 'origin', 'authorization', 'content-length', 'content-type', 'content-encoding'];

/**
 * Throws Problem bad_request if a header that may appear once appears twice.
 * @param raw names and values as sent, in turn
 */
export function requireSingleHeaders(raw: readonly string[], headers: IncomingHttpHeaders): void {
  if (raw.length === 2 * Object.keys(headers).length) return;
  const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
  const twice = SINGLE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice !== undefined) throw new Problem('bad_request', `The request has more than one ${twice} header.`);
}

/**
 * Throws a Problem if the request is ambiguous: no Host, an Expect other than 100-continue, several transfer codings, a `#`
 * in its target, or a query that is not UTF-8.
 */
export function requireUnambiguous({ headers, httpVersion, url = '' }: IncomingMessage): void {
  if (headers.host === undefined && httpVersion !== '1.0')
    throw new Problem('bad_request', 'The Host header is missing: HTTP/1.1 requires it.');
  const { expect = '100-continue', 'transfer-encoding': coding = 'chunked' } = headers;
  if (expect.trim().toLowerCase() !== '100-continue')
    throw new Problem('expectation_failed', 'The Expect header must be 100-continue: nothing else is supported.');
  // One that does not end with chunked is refused by Node, since nobody knows where its body ends.
  if (coding.includes(','))
    throw new Problem('bad_request', 'The Transfer-Encoding must be chunked: nothing else is supported.');
  const query = url.indexOf('?');
  if (url.includes('#')) throw new Problem('bad_request', 'The request target contains "#": encode it as "%23".');
  if (query < 0 || !url.includes('%', query)) return;
  try {
    decodeURIComponent(url.slice(query));
  } catch {
    throw new Problem('bad_request', 'The query is not valid percent-encoded UTF-8.');
  }
}

/** Throws Problem unsupported_media_type if the body is compressed: a Content-Encoding (RFC 9110, 8.4) other than identity. */
export function requireUncompressed(encoding: string | undefined): void {
  if (encoding === undefined || encoding.split(',').every((coding) => /^\s*(identity)?\s*$/i.test(coding))) return;
  throw new Problem(
    'unsupported_media_type',
    'Send the body without Content-Encoding: compressed bodies are not supported.',
  );
}
