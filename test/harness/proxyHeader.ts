import { isIPv6 } from 'node:net';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Version 2, PROXY. */
const VERSION_AND_COMMAND = 0x21;
const [TCP_OVER_IPV4, TCP_OVER_IPV6] = [0x11, 0x21];
/** The length to which an AWS Network Load Balancer pads its header. */
const WHOLE_BYTES = 84;
const TLV_HEAD_BYTES = 3;
/** Type-length-value fields: an AWS VPC endpoint, and padding. */
const [PP2_TYPE_AWS, PP2_TYPE_NOOP] = [0xea, 0x04];
const VPC_ENDPOINT = Buffer.from('\u0001vpce-08d2bf15fac5001c9', 'latin1');

/** An address and a port. */
export type Endpoint = { address: string; port: number };

/** A header of the PROXY protocol, version 2, with TLVs, as an AWS Network Load Balancer sends it. Both addresses have one family. */
export function proxyHeader(source: Endpoint, destination: Endpoint): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const addresses = Buffer.concat([bytesOf(source), bytesOf(destination), ports]);
  const endpoint = tlv(PP2_TYPE_AWS, VPC_ENDPOINT);
  const left = WHOLE_BYTES - SIGNATURE.length - 4 - addresses.length - endpoint.length - TLV_HEAD_BYTES;
  const body = Buffer.concat([addresses, endpoint, tlv(PP2_TYPE_NOOP, Buffer.alloc(left))]);
  const head = Buffer.from([
    VERSION_AND_COMMAND,
    isIPv6(source.address) ? TCP_OVER_IPV6 : TCP_OVER_IPV4,
    body.length >> 8,
    body.length & 255,
  ]);
  return Buffer.concat([SIGNATURE, head, body]);
}

function bytesOf({ address }: Endpoint): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [start = [], end = []] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = Array.from({ length: 8 - start.length - end.length }, () => '0');
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...start, ...zeros, ...end].entries())
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * index);
  return bytes;
}

function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);
}
