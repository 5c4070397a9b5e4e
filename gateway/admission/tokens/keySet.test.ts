import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { joseKey, jwksOf } from '@pushcluster/test/harness/joseKeys.ts';
import { errors, exportJWK, generateKeyPair, type JWK } from 'jose';
import { KeySet } from './keySet.ts';

const withoutKid = ({ kid: _, ...jwk }: JWK): JWK => jwk;
const NONE = null;

const [first, second, third, rsa] = await Promise.all([
  joseKey('ES256', '1'),
  joseKey('ES256', '2'),
  joseKey('ES256', '3'),
  joseKey('RS256', 'r'),
]);

describe('a set of keys', () => {
  const good = async (text: string, token: string) =>
    assert.equal((await new KeySet(text).check(token, {})).sub, 'ann');
  const bad = (text: string, token: string) => assert.rejects(new KeySet(text).check(token, {}), errors.JOSEError);

  it('checks a token that names its key with that key, and one that names none with each of its algorithm', async () => {
    const all = jwksOf(first.jwk, second.jwk, rsa.jwk, third.jwk);
    for (const key of [first, second, third, rsa]) {
      await good(all, await key.sign());
      await good(all, await key.sign(NONE));
      await good(jwksOf(...[first, second, rsa, third].map(({ jwk }) => withoutKid(jwk))), await key.sign(NONE));
    }
    const stranger = await joseKey('ES256');
    await bad(all, await stranger.sign(NONE));
    await bad(all, await stranger.sign('1'));
    await bad(all, await first.sign('2'));
    await bad(all, await first.sign('unknown'));
  });

  it('may name two keys alike', async () => {
    const both = jwksOf(first.jwk, { ...second.jwk, kid: '1' });
    for (const key of [first, second]) await good(both, await key.sign('1'));
  });

  it('leaves out what is not for checking signatures, too short, private or broken, and checks with the rest', async () => {
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    const odd = [
      { ...first.jwk, use: 'enc' },
      { ...first.jwk, alg: 'ES384' },
      { ...rsa.jwk, alg: 'PS256' },
      { ...first.jwk, key_ops: ['sign'] },
      { ...first.jwk, x: 'oops' },
      { ...first.jwk, crv: 'P-999' },
      { ...rsa.jwk, n: rsa.jwk.n?.slice(0, 100) },
      { kty: 'oct', k: 'c2VjcmV0', kid: '1' },
      { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
      await exportJWK(privateKey),
      5,
      null,
      {},
      { ...first.jwk, kid: 5 },
    ];
    for (const key of odd) assert.throws(() => new KeySet(jwksOf(key)), /holds no public key that RS256 or ES256/);
    await good(jwksOf(...odd, second.jwk), await second.sign());
    await good(jwksOf(...odd, second.jwk), await second.sign(NONE));
    await bad(jwksOf(...odd, second.jwk), await first.sign());
  });

  it('takes members that are null for absent, and a byte order mark for nothing', async () => {
    const nulls = { alg: null, use: null, key_ops: null, d: null };
    const text = `\uFEFF${JSON.stringify({ keys: [{ ...first.jwk, ...nulls }] })}`;
    await good(text, await first.sign());
  });

  it('is refused where it is none, empty or endless', () => {
    for (const text of ['', 'oops', '[]', '{}', '{"keys":5}', '{"keys":{}}'])
      assert.throws(() => new KeySet(text), /^Error: is not a JWKS: it must be JSON such as/, text);
    assert.throws(() => new KeySet('{"keys":[]}'), /holds no public key/);
    assert.throws(() => new KeySet(jwksOf(...new Array(101).fill(first.jwk))), /holds 101 keys; at most 100/);
  });
});
