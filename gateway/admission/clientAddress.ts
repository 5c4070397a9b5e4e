import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Characters of the longest address: IPv6 with an IPv4 tail, in brackets, with a port and a zone's name. */
const LONGEST = 100;

/**
 * An address in canonical form. Port, brackets and zone are taken off (`[2001:DB8::A]:443`, `1.2.3.4:5678`, `fe80::1%eth0`). IPv4
 * inside IPv6 is IPv4: `::ffff:1.2.3.4`, and 64:ff9b::/96, in which translators put all IPv4 clients. Undefined if `text` is no
 * address.
 */
export function canonicalAddress(text: string): string | undefined {
  const plain = bare(text);
  if (isIP(plain) === 4) return plain;
  if (isIP(plain) !== 6) return undefined;
  const address = ipaddr.IPv6.parse(plain);
  if (!address.isIPv4MappedAddress() && address.range() !== 'rfc6052') return address.toString();
  return new ipaddr.IPv4(address.toByteArray().slice(12)).toString();
}

/** What an access provider gives to one subscriber: an IPv4 address, or a /64 of IPv6. @param address in canonical form */
export function addressGroup(address: string): string {
  if (isIP(address) !== 6) return address;
  const network = ipaddr.IPv6.parse(address).parts.slice(0, 4);
  return `${network.map((part) => part.toString(16)).join(':')}::/64`;
}

/**
 * The client's address by X-Forwarded-For. Its last `hops` entries were written by trusted proxies, each the address of its own
 * peer. The first of those is the client. If it is no address, the next one that is counts, which is that of a proxy.
 * @param lines values of all lines of the header, in their order: a proxy may add its own line below the client's
 * @param hops 1 or more
 * @returns undefined if none of these entries is an address
 */
export function forwardedAddress(lines: readonly string[], hops: number): string | undefined {
  const entries = lines
    .join(',')
    .split(',')
    .filter((entry) => entry.trim() !== '');
  for (const entry of entries.slice(-hops)) {
    const address = canonicalAddress(entry.trim());
    if (address !== undefined) return address;
  }
  return undefined;
}

/** Without brackets, port and zone. */
function bare(text: string): string {
  if (text.length > LONGEST) return '';
  const [, bracketed, dotted] = /^\[([^\]]*)\](?::\d{1,5})?$|^([\d.]+):\d{1,5}$/.exec(text) ?? [];
  return (bracketed ?? dotted ?? text).replace(/%.*$/s, '');
}
