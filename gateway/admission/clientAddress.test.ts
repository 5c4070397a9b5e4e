import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressGroup, canonicalAddress, forwardedAddress } from './clientAddress.ts';

describe('an address', () => {
  const spellings: [canonical: string, ...others: string[]][] = [
    ['1.2.3.4', '1.2.3.4:5678', '1.2.3.4:0', '[1.2.3.4]:80'],
    ['1.2.3.4', '::ffff:1.2.3.4', '::FFFF:102:304', '0:0:0:0:0:ffff:0102:0304', '[::ffff:1.2.3.4]:443'],
    ['1.2.3.4', '64:ff9b::1.2.3.4', '64:ff9b::102:304', '0064:FF9B:0:0:0:0:0102:0304'],
    ['1.2.3.4', '0000:0000:0000:0000:0000:ffff:0102:0304', '::ffff:1.2.3.4%eth0'],
    ['2001:db8:1:2::a', '2001:0db8:0001:0002:0000:0000:0000:000a', '2001:DB8:1:2::A', '2001:db8:1:2:0::0:a'],
    ['2001:db8:1:2::a', '[2001:db8:1:2::a]', '[2001:DB8:1:2::A]:1234', '2001:db8:1:2::a%25eth0'],
    ['fe80::1', 'fe80::1%eth0', 'FE80::1%lo', '[fe80::1%eth0]:9'],
    ['::1', '0:0:0:0:0:0:0:1', '[::1]:1'],
  ];

  it('has one spelling, with brackets, a port or a zone too', () => {
    for (const [canonical, ...others] of spellings)
      for (const text of [canonical, ...others]) assert.equal(canonicalAddress(text), canonical, text);
  });

  it('is none where it is garbage, or could be read in two ways', () => {
    for (const text of [
      ...['', ' ', 'unknown', '_hidden', '-', 'localhost', 'example.com', 'example.com:80', '1', '1.2.3', '1.2.3.4.5'],
      ...[
        '01.2.3.4',
        '0x7f.0.0.1',
        '256.1.1.1',
        '1.2.3.4:',
        '1.2.3.4:x',
        '1.2.3.4:123456',
        '1.2.3.4/24',
        '1.2.3.4 5.6.7.8',
      ],
      ...['[', '[]', '[::1', '::1]', '[::1]x', '[::1]:', '[[::1]]', ':::', '1::2::3', '2001:db8::g', '"[2001:db8::1]"'],
      ...['for=1.2.3.4', '2001:db8::1/64', '%', '%eth0', '1'.repeat(10_000), `::1%${'x'.repeat(10_000)}`],
    ])
      assert.equal(canonicalAddress(text), undefined, text.slice(0, 50));
  });

  it('is canonical once and for all, and never throws', () => {
    const written = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.ipV4Extended(),
      fc.string(),
      fc.ipV6().map((ip) => `[${ip}]:1`),
    );
    fc.assert(
      fc.property(written, (text) => {
        const canonical = canonicalAddress(text);
        if (canonical !== undefined) assert.equal(canonicalAddress(canonical), canonical);
      }),
    );
    fc.assert(fc.property(fc.ipV6(), (ip) => canonicalAddress(ip) === canonicalAddress(ip.toUpperCase())));
  });
});

describe('the group of an address', () => {
  it('is the address for IPv4', () => {
    assert.equal(addressGroup('10.1.2.3'), '10.1.2.3');
  });

  it('is the /64 for IPv6', () => {
    for (const address of ['2001:db8:1:2:aaaa:bbbb:cccc:dddd', '2001:db8:1:2::1', '2001:db8:1:2::'])
      assert.equal(addressGroup(address), '2001:db8:1:2::/64');
    assert.equal(addressGroup('2001:db8::1'), '2001:db8:0:0::/64');
    assert.notEqual(addressGroup('2001:db8:1:3::1'), addressGroup('2001:db8:1:2::1'));
  });

  it('is what it is where there is no address', () => {
    assert.equal(addressGroup(''), '');
  });
});

describe('X-Forwarded-For', () => {
  const table: [what: string, lines: string[], hops: number, address: string | undefined][] = [
    ['one entry', ['1.1.1.1'], 1, '1.1.1.1'],
    ['the last of a line: a client may have sent the others', ['6.6.6.6, 1.1.1.1'], 1, '1.1.1.1'],
    ['the last line: a proxy may add its own below the client’s', ['6.6.6.6', '1.1.1.1'], 1, '1.1.1.1'],
    ['lines and entries in order', ['6.6.6.6, 7.7.7.7', '1.1.1.1,2.2.2.2', '3.3.3.3'], 3, '1.1.1.1'],
    ['two hops over two lines', ['6.6.6.6, 1.1.1.1', '2.2.2.2'], 2, '1.1.1.1'],
    ['fewer entries than hops: it came by fewer proxies, all trusted', ['1.1.1.1'], 3, '1.1.1.1'],
    ['no line', [], 1, undefined],
    ['empty lines and entries', ['', ' , ,'], 2, undefined],
    ['empty entries among others', ['6.6.6.6,, 1.1.1.1 , ', ''], 1, '1.1.1.1'],
    ['garbage of a client', ['unknown, 1.1.1.1'], 1, '1.1.1.1'],
    ['a proxy that hides it', ['6.6.6.6, unknown'], 1, undefined],
    ['an outer proxy that hides it', ['6.6.6.6, unknown, 2.2.2.2'], 2, '2.2.2.2'],
    ['ports and brackets', ['[2001:DB8::A]:1234, 2.2.2.2:5678'], 2, '2001:db8::a'],
    ['tabs', ['6.6.6.6,\t1.1.1.1\t'], 1, '1.1.1.1'],
  ];
  for (const [what, lines, hops, address] of table)
    it(what, () => {
      assert.equal(forwardedAddress(lines, hops), address);
    });

  it('never lets a client’s own entries count, whatever they are', () => {
    const entry = fc.oneof(fc.string(), fc.ipV4(), fc.constantFrom('', ',', ' ', 'unknown', '[::1]'));
    fc.assert(
      fc.property(fc.array(entry), fc.integer({ min: 1, max: 4 }), fc.boolean(), (own, hops, ownLine) => {
        const trusted = Array.from({ length: hops }, (_, i) => `10.0.0.${i + 1}`);
        const lines = ownLine ? [...own, trusted.join(', ')] : [[...own, ...trusted].join(',')];
        assert.equal(forwardedAddress(lines, hops), '10.0.0.1');
      }),
    );
  });
});
