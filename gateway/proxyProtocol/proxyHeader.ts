import { isIP } from 'node:net';
import { canonicalAddress } from '../admission/clientAddress.ts';

/**
 * The header of the PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt). `unknown`: more bytes
 * are needed. `length` is that of the whole header, whose end may not have arrived yet. `source` is the client's address; it is
 * undefined if the connection is the balancer's own (LOCAL, UNKNOWN) or not of IP (UNIX).
 */
export type ProxyHeader =
  | { type: 'unknown' }
  | { type: 'header'; length: number; source: string | undefined }
  | { type: 'wrong'; reason: string };

/** Bytes that are enough to understand any header: the longest line of version 1. Addresses of IPv6 in version 2 take less. */
export const ENOUGH_BYTES = 107;

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEAD = 16;
const V1_WORD = Buffer.from('PROXY ', 'latin1');
/** Bytes of two addresses and two ports, by address family. */
const SIZES = new Map([
  [1, 12],
  [2, 36],
]);
const UNKNOWN: ProxyHeader = { type: 'unknown' };

/** Parses the beginning of a connection. @param bytes its first ENOUGH_BYTES, or all that have arrived so far */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsLike(bytes, V1_WORD)) return parseLine(bytes);
  if (startsLike(bytes, SIGNATURE)) return parseBinary(bytes);
  return wrong('there is none');
}

function parseBinary(bytes: Buffer): ProxyHeader {
  if (bytes.length < V2_HEAD) return UNKNOWN;
  const [versionAndCommand = 0, familyAndTransport = 0] = bytes.subarray(SIGNATURE.length);
  const length = V2_HEAD + bytes.readUInt16BE(14);
  if (versionAndCommand >> 4 !== 2) return wrong(`version ${versionAndCommand >> 4} is not known`);
  const command = versionAndCommand & 15;
  if (command > 1) return wrong(`command ${command} is not known`);
  const size = SIZES.get(familyAndTransport >> 4);
  // A balancer's health check, or a family without IP addresses: the rest of the header is skipped.
  if (command === 0 || size === undefined) return { type: 'header', length, source: undefined };
  if (length < V2_HEAD + size) return wrong('it is shorter than its addresses');
  if (bytes.length < V2_HEAD + size) return UNKNOWN;
  const address = bytes.subarray(V2_HEAD, V2_HEAD + (size === 12 ? 4 : 16));
  return { type: 'header', length, source: canonicalAddress(textOf(address)) };
}

function parseLine(bytes: Buffer): ProxyHeader {
  const end = bytes.indexOf('\r\n');
  if (end < 0) return bytes.length < ENOUGH_BYTES ? UNKNOWN : wrong('its line is too long');
  const line = bytes.toString('latin1', 0, end);
  const length = end + 2;
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { type: 'header', length, source: undefined };
  const [, version, source = '', destination = '', ...ports] =
    /^PROXY TCP([46]) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/.exec(line) ?? [];
  const isAddress = (text: string) => isIP(text) === Number(version);
  if (version === undefined || !isAddress(source) || !isAddress(destination) || ports.some((port) => +port > 65_535))
    return wrong('its line is malformed');
  return { type: 'header', length, source: canonicalAddress(source) };
}

function startsLike(bytes: Buffer, beginning: Buffer): boolean {
  const known = Math.min(bytes.length, beginning.length);
  return bytes.compare(beginning, 0, known, 0, known) === 0;
}

function textOf(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  return Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16)).join(':');
}

function wrong(reason: string): ProxyHeader {
  return { type: 'wrong', reason };
}
