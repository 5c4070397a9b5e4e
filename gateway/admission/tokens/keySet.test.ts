import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { joseKey, jwksOf } from '@pushcluster/test/harness/joseKeys.ts';
import fc from 'fast-check';
import { CompactSign, errors, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
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

describe('a token that is checked at once', async () => {
  const kinds = ['ES256', 'RS256'] as const;
  const pairs = await Promise.all(
    kinds.flatMap((alg) =>
      ['a', 'b'].map(async (kid) => {
        const { privateKey, publicKey } = await generateKeyPair(alg);
        return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid: `${alg} ${kid}` } };
      }),
    ),
  );
  const set = new KeySet(jwksOf(...pairs.map(({ jwk }) => jwk)));
  const options = { audience: 'push' };
  const now = Math.floor(Date.now() / 1_000);
  const claims = { sub: 'ann', aud: 'push', exp: now + 3_600 };

  type Outcome = { claims: JWTPayload } | { error: string };
  const byJose = async (token: string): Promise<Outcome> => {
    try {
      return { claims: await set.check(token, options) };
    } catch (error) {
      assert.ok(error instanceof errors.JOSEError, String(error));
      return { error: error.message };
    }
  };
  /** Undefined: it takes another look. */
  const atOnce = (token: string): Outcome | undefined => {
    try {
      const claims = set.checkNow(token, options);
      return claims && { claims };
    } catch (error) {
      assert.ok(error instanceof errors.JOSEError, String(error));
      return { error: error.message };
    }
  };
  const agree = async (token: string) => {
    const outcome = atOnce(token);
    if (outcome) assert.deepEqual(outcome, await byJose(token), token);
    return outcome;
  };

  it('is one that names its key', async () => {
    for (const { alg, privateKey, jwk } of pairs) {
      const header = { alg, kid: jwk.kid };
      assert.deepEqual(atOnce(await new SignJWT(claims).setProtectedHeader(header).sign(privateKey)), { claims });
      const late = new SignJWT({ ...claims, exp: now - 60 }).setProtectedHeader(header);
      assert.match(JSON.stringify(await agree(await late.sign(privateKey))), /exp.*claim timestamp check failed/);
      const other = new SignJWT({ ...claims, aud: 'other' }).setProtectedHeader(header);
      assert.match(JSON.stringify(await agree(await other.sign(privateKey))), /unexpected .*aud.* claim value/);
      const noClaims = new CompactSign(new TextEncoder().encode('5')).setProtectedHeader(header);
      assert.match(JSON.stringify(await agree(await noClaims.sign(privateKey))), /error/);
    }
  });

  it('is none that several keys may have signed, or whose header asks for more', async () => {
    for (const { alg, privateKey, jwk } of pairs) {
      const sign = (header: object, crit?: Record<string, boolean>) =>
        new SignJWT(claims).setProtectedHeader({ alg, ...header }).sign(privateKey, { ...(crit ? { crit } : {}) });
      assert.equal(atOnce(await sign({})), undefined);
      assert.equal(atOnce(await sign({ kid: 'unknown' })), undefined);
      assert.equal(atOnce(await sign({ kid: jwk.kid, crit: ['more'], more: 1 }, { more: true })), undefined);
    }
  });

  it('is never accepted if jose refuses it, and says the same otherwise, whatever is changed in it', async () => {
    const tokens = await Promise.all(
      pairs.map(({ alg, privateKey, jwk }) =>
        new SignJWT(claims).setProtectedHeader({ alg, kid: jwk.kid }).sign(privateKey),
      ),
    );
    const headers = pairs.flatMap(({ jwk }) =>
      [...kinds, 'none', 'HS256', 'PS256'].map((alg) => ({ alg, kid: jwk.kid })),
    );
    const header = fc.constantFrom(...headers).map((value) => Buffer.from(JSON.stringify(value)).toString('base64url'));
    const part = (index: number) => fc.constantFrom(...tokens.map((token) => token.split('.')[index]!));
    const garbage = fc.oneof(fc.string(), fc.base64String(), fc.constant(''));
    const changed = fc.oneof(
      fc.tuple(fc.oneof(part(0), header, garbage), fc.oneof(part(1), garbage), fc.oneof(part(2), part(2), garbage)),
      fc.array(fc.oneof(part(0), part(1), part(2), garbage), { maxLength: 4 }),
    );
    const flipped = fc
      .tuple(fc.constantFrom(...tokens), fc.nat(), fc.constantFrom(...'Aa0_-.=+/é '))
      .map(([token, at, character]) => {
        const index = at % token.length;
        return token.slice(0, index) + character + token.slice(index + 1);
      });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          changed.map((parts) => parts.join('.')),
          flipped,
        ),
        async (token) => {
          await agree(token);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
