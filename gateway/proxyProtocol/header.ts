import { isIP } from 'node:net';
import { canonicalAddress } from '../admission/clientAddress.ts';

/**
 * What begins a connection by the PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt).
 * `unknown` may be right once there is more; `length` is that of the whole header, of which not all need be there yet;
 * `source` is the client, or undefined where the connection is the balancer's own (LOCAL, UNKNOWN, UNIX and what is no IP).
 */
export type ProxyHeader =
  | { type: 'unknown' }
  | { type: 'header'; length: number; source: string | undefined }
  | { type: 'wrong'; reason: string };

/** Bytes that are enough to understand any header: of version 1 the longest line, of version 2 the addresses of IPv6. */
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

/** Understands the beginning of a connection: `bytes` are the first ENOUGH_BYTES of it, or all there are yet. */
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
  // A balancer's health check, or a family that says nothing about who it is: what is in the header is to be skipped.
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
