import assert from 'node:assert/strict';
import { it } from 'node:test';
import { listenAddress } from './listenAddress.ts';

it('all addresses are those of both families, or of IPv4 on a machine without IPv6', () => {
  assert.equal(
    listenAddress('::', () => true),
    '::',
  );
  assert.equal(
    listenAddress('::', () => false),
    '0.0.0.0',
  );
});

it('any other host is bound as it is', () => {
  for (const host of ['0.0.0.0', '127.0.0.1', '::1', 'localhost'])
    for (const hasIpv6 of [true, false])
      assert.equal(
        listenAddress(host, () => hasIpv6),
        host,
      );
});
