import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ENOUGH_BYTES, parseProxyHeader } from './proxyHeader.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

function v2(versionAndCommand: number, familyAndTransport: number, body: Uint8Array): Buffer {
  const head = Buffer.from([versionAndCommand, familyAndTransport, body.length >> 8, body.length & 255]);
  return Buffer.concat([SIGNATURE, head, body]);
}

const v1 = (line: string) => Buffer.from(line, 'latin1');
const IPV4 = Buffer.from([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x1e, 0x61]);
const IPV6 = Buffer.concat([Buffer.from('20010db800010002000000000000000a', 'hex'), Buffer.alloc(20)]);
const MAPPED = Buffer.concat([Buffer.from('00000000000000000000ffffc0000201', 'hex'), Buffer.alloc(20)]);
/** As an AWS NLB pads to 84 bytes: a VPC endpoint, a checksum, and nothing. */
const NLB = Buffer.concat([Buffer.from([0xea, 0, 5, 1, 1, 2, 3, 4, 3, 0, 4, 1, 2, 3, 4, 4, 0, 38]), Buffer.alloc(38)]);

type Row = [what: string, bytes: Buffer, source: string | undefined, length?: number];

describe('a PROXY header', () => {
  const known: Row[] = [
    ['v2, IPv4', v2(0x21, 0x11, IPV4), '192.0.2.1'],
    ['v2, IPv6', v2(0x21, 0x21, IPV6), '2001:db8:1:2::a'],
    ['v2, IPv4 written as IPv6', v2(0x21, 0x21, MAPPED), '192.0.2.1'],
    ['v2, padded to 84 bytes with TLVs', v2(0x21, 0x11, Buffer.concat([IPV4, NLB])), '192.0.2.1', 84],
    ['v2, IPv6 with TLVs', v2(0x21, 0x21, Buffer.concat([IPV6, NLB])), '2001:db8:1:2::a'],
    ['v2, as long as it can be', v2(0x21, 0x11, Buffer.concat([IPV4, Buffer.alloc(65_523)])), '192.0.2.1', 65_551],
    ['v2, UDP', v2(0x21, 0x12, IPV4), '192.0.2.1'],
    ['v2, LOCAL without addresses', v2(0x20, 0x00, Buffer.alloc(0)), undefined],
    ['v2, LOCAL with addresses, which don’t count', v2(0x20, 0x11, IPV4), undefined],
    ['v2, LOCAL with TLVs', v2(0x20, 0x00, NLB), undefined],
    ['v2, AF_UNSPEC', v2(0x21, 0x00, Buffer.alloc(0)), undefined],
    ['v2, AF_UNSPEC with bytes', v2(0x21, 0x00, IPV4), undefined],
    ['v2, UNIX', v2(0x21, 0x31, Buffer.alloc(216, 65)), undefined],
    ['v2, a family of later', v2(0x21, 0x51, Buffer.alloc(7)), undefined],
    ['v1, IPv4', v1('PROXY TCP4 192.0.2.1 10.0.0.1 12345 7777\r\n'), '192.0.2.1'],
    ['v1, IPv6', v1('PROXY TCP6 2001:DB8:1:2::A ::1 12345 7777\r\n'), '2001:db8:1:2::a'],
    ['v1, UNKNOWN', v1('PROXY UNKNOWN\r\n'), undefined],
    ['v1, UNKNOWN with more', v1('PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n'), undefined],
    [
      'v1, the longest',
      v1(`PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}fff0 65535 65535\r\n`),
      'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    ],
  ];
  for (const [what, bytes, source, length = bytes.length] of known)
    it(`of a known kind is understood: ${what}`, () => {
      const whole = { type: 'header', length, source };
      const begun = (known: number) => parseProxyHeader(bytes.subarray(0, Math.min(known, ENOUGH_BYTES)));
      assert.deepEqual(begun(ENOUGH_BYTES), whole);
      // Byte by byte it is unknown for a while, and then what it is; never wrong in between.
      const types = Array.from({ length: bytes.length + 1 }, (_, i) => begun(i));
      const first = types.findIndex(({ type }) => type !== 'unknown');
      for (const type of types.slice(first)) assert.deepEqual(type, whole);
    });

  const wrongs: [what: string, bytes: Buffer][] = [
    ['HTTP', v1('GET /connect HTTP/1.1\r\n')],
    ['TLS', Buffer.from([22, 3, 1])],
    ['one byte of something else', v1('G')],
    ['a signature that breaks off', Buffer.concat([SIGNATURE.subarray(0, 11), v1('X')])],
    ['version 3', v2(0x31, 0x11, IPV4)],
    ['version 1 in binary', v2(0x11, 0x11, IPV4)],
    ['an unknown command', v2(0x22, 0x11, IPV4)],
    ['IPv4 cut short', v2(0x21, 0x11, IPV4.subarray(0, 11))],
    ['IPv6 cut short', v2(0x21, 0x21, IPV6.subarray(0, 35))],
    ['v1 in lower case', v1('proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n')],
    ['v1 without ports', v1('PROXY TCP4 192.0.2.1 10.0.0.1\r\n')],
    ['v1 with IPv6 as TCP4', v1('PROXY TCP4 ::1 ::1 1 2\r\n')],
    ['v1 with a port that is none', v1('PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n')],
    ['v1 with a name', v1('PROXY TCP4 localhost 10.0.0.1 1 2\r\n')],
    ['v1 with two spaces', v1('PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n')],
    ['v1 of another transport', v1('PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n')],
    ['v1 without an end', v1(`PROXY UNKNOWN ${'x'.repeat(200)}`).subarray(0, ENOUGH_BYTES)],
  ];
  for (const [what, bytes] of wrongs)
    it(`is wrong: ${what}`, () => {
      assert.equal(parseProxyHeader(bytes).type, 'wrong');
    });

  it('is never more than understood from what is there, whatever comes', () => {
    const bytes = fc.uint8Array({ maxLength: ENOUGH_BYTES });
    const beginnings = fc.constantFrom(Buffer.alloc(0), SIGNATURE, v1('PROXY '), v1('PROXY TCP4 '));
    fc.assert(
      fc.property(beginnings, bytes, (beginning, rest) => {
        const all = Buffer.concat([beginning, rest]).subarray(0, ENOUGH_BYTES);
        const parsed = parseProxyHeader(all);
        if (parsed.type === 'header') assert.ok(parsed.length >= 15 && parsed.length <= 65_551);
        if (parsed.type === 'unknown') assert.ok(all.length < ENOUGH_BYTES);
      }),
      { numRuns: 2_000 },
    );
  });
});
