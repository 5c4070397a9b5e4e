import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newAuthority } from '../certificates/x509.ts';
import { authenticated, bearerOf, callerOf, frontProxyIn, isFrontProxy, NO_FRONT_PROXY } from './frontProxy.ts';

const { certificate } = newAuthority({ name: 'front proxy', now: Date.now(), lasts: 86_400_000 });
const data = {
  'client-ca-file': 'of users, who ask the API server itself',
  'requestheader-client-ca-file': certificate,
  'requestheader-allowed-names': '["front-proxy"]',
  'requestheader-username-headers': '["X-Remote-User"]',
  'requestheader-uid-headers': '["X-Remote-Uid"]',
  'requestheader-group-headers': '["X-Remote-Group"]',
  'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
};
const proxy = frontProxyIn({ data });

describe('whom the metrics API believes', () => {
  it("is the front proxy that the API server's ConfigMap names", () => {
    assert.deepEqual(proxy.authorities, [certificate]);
    assert.ok(isFrontProxy(proxy, 'front-proxy'));
    assert.ok(!isFrontProxy(proxy, 'another'));
  });

  it('is any name of that authority where none is named', () => {
    assert.ok(isFrontProxy(frontProxyIn({ data: { ...data, 'requestheader-allowed-names': '' } }), 'another'));
  });

  it('is nobody where there is no authority', () => {
    assert.ok(!isFrontProxy(NO_FRONT_PROXY, ''));
    assert.ok(!isFrontProxy(frontProxyIn({ data: { 'requestheader-allowed-names': '[]' } }), 'front-proxy'));
    assert.ok(!isFrontProxy(frontProxyIn({}), 'front-proxy'));
  });

  it('is not guessed where the ConfigMap is not in its form', () => {
    const broken = { ...data, 'requestheader-allowed-names': 'front-proxy' };
    assert.throws(() => frontProxyIn({ data: broken }), /requestheader-allowed-names .* is not a JSON array/);
    const junk = certificate.replace('MII', 'AAA');
    assert.throws(() => frontProxyIn({ data: { ...data, 'requestheader-client-ca-file': junk } }));
  });

  it('says who asks: name, groups and what else it knows', () => {
    const headers = {
      'x-remote-user': ['ann'],
      'x-remote-uid': ['7'],
      'x-remote-group': ['shop', 'ops'],
      'x-remote-extra-scopes': ['a', 'b'],
      'x-remote-extra-example.com%2fteam': ['c'],
      'x-other': ['d'],
    };
    assert.deepEqual(callerOf(proxy, headers), {
      name: 'ann',
      uid: '7',
      groups: ['shop', 'ops', 'system:authenticated'],
      extra: { scopes: ['a', 'b'], 'example.com/team': ['c'] },
    });
    assert.equal(callerOf(proxy, { 'x-remote-group': ['system:masters'] }), undefined);
    assert.equal(callerOf(NO_FRONT_PROXY, headers), undefined);
  });

  it('counts as known, unless it says itself that nobody is', () => {
    const caller = { name: 'ann', uid: undefined, groups: [], extra: {} };
    assert.deepEqual(authenticated(caller).groups, ['system:authenticated']);
    const nobody = { ...caller, name: 'system:anonymous', groups: ['system:unauthenticated'] };
    assert.deepEqual(authenticated(nobody), nobody);
  });
});

describe('a bearer token', () => {
  it('is what follows the word, and nothing else', () => {
    assert.equal(bearerOf({ authorization: 'Bearer abc' }), 'abc');
    assert.equal(bearerOf({ authorization: 'bearer  abc ' }), 'abc');
    for (const authorization of ['Basic abc', 'Bearer', 'Bearer ', 'Bearer a b', 'abc'])
      assert.equal(bearerOf({ authorization }), undefined, authorization);
    assert.equal(bearerOf({}), undefined);
  });
});
