import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { beforeEach, describe, it, type TestContext } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { errors, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { fetchJwks, KeySet, KeysUnavailable, RemoteKeys } from './jwks.ts';

type Key = { jwk: JWK; sign: (kid?: string | null) => Promise<string> };

async function keyPair(algorithm: 'RS256' | 'ES256', kid?: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  return {
    jwk: { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) },
    sign: (named: string | null | undefined = kid) =>
      new SignJWT({ sub: 'ann' })
        .setProtectedHeader({ alg: algorithm, ...(typeof named === 'string' ? { kid: named } : {}) })
        .sign(privateKey),
  };
}

const withoutKid = ({ kid: _, ...jwk }: JWK): JWK => jwk;
const setOf = (...keys: (JWK | unknown)[]) => JSON.stringify({ keys });
const NONE = null;

const [first, second, third, rsa] = await Promise.all([
  keyPair('ES256', '1'),
  keyPair('ES256', '2'),
  keyPair('ES256', '3'),
  keyPair('RS256', 'r'),
]);

describe('a set of keys', () => {
  const good = async (text: string, token: string) =>
    assert.equal((await new KeySet(text).check(token, {})).sub, 'ann');
  const bad = (text: string, token: string) => assert.rejects(new KeySet(text).check(token, {}), errors.JOSEError);

  it('checks a token that names its key with that key, and one that names none with each of its algorithm', async () => {
    const all = setOf(first.jwk, second.jwk, rsa.jwk, third.jwk);
    for (const key of [first, second, third, rsa]) {
      await good(all, await key.sign());
      await good(all, await key.sign(NONE));
      await good(setOf(...[first, second, rsa, third].map(({ jwk }) => withoutKid(jwk))), await key.sign(NONE));
    }
    const stranger = await keyPair('ES256');
    await bad(all, await stranger.sign(NONE));
    await bad(all, await stranger.sign('1'));
    await bad(all, await first.sign('2'));
    await bad(all, await first.sign('unknown'));
  });

  it('may name two keys alike', async () => {
    const both = setOf(first.jwk, { ...second.jwk, kid: '1' });
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
    for (const key of odd) assert.throws(() => new KeySet(setOf(key)), /holds no public key that RS256 or ES256/);
    await good(setOf(...odd, second.jwk), await second.sign());
    await good(setOf(...odd, second.jwk), await second.sign(NONE));
    await bad(setOf(...odd, second.jwk), await first.sign());
  });

  it('is refused where it is none, empty or endless', () => {
    for (const text of ['', 'oops', '[]', '{}', '{"keys":5}', '{"keys":{}}'])
      assert.throws(() => new KeySet(text), /^Error: is no JWKS: it should be JSON such as/, text);
    assert.throws(() => new KeySet('{"keys":[]}'), /holds no public key/);
    assert.throws(() => new KeySet(setOf(...new Array(101).fill(first.jwk))), /holds 101 keys; at most 100/);
  });
});

describe('keys behind a URL', () => {
  let clock: FakeClock;
  let keys: RemoteKeys;
  let problems: string[];
  let fetches: number;
  /** What the server answers, or why it doesn't. */
  let answer: string | Error | Promise<string>;
  beforeEach(() => {
    clock = new FakeClock();
    clock.advance(1_000_000);
    problems = [];
    fetches = 0;
    answer = setOf(first.jwk);
    keys = new RemoteKeys({
      clock,
      async fetch() {
        fetches++;
        if (answer instanceof Error) throw answer;
        return answer;
      },
      onProblem: (problem) => problems.push(problem),
      onFetched: () => {},
    });
  });

  /** What becomes of a token. */
  async function outcomeOf(token: string): Promise<'good' | 'no' | 'unknown'> {
    clock.advance(1);
    try {
      await keys.check(token, {});
      return 'good';
    } catch (error) {
      if (error instanceof errors.JOSEError) return 'no';
      assert.ok(error instanceof KeysUnavailable, String(error));
      return 'unknown';
    }
  }
  const waiting = (count: number) => until(`${count} wait`, () => keys.waiting === count);
  const settled = () => new Promise(setImmediate);
  const minutes = (count: number) => clock.advance(count * 60_000);

  it('are fetched once for all who come, and kept', async () => {
    const token = await first.sign();
    assert.deepEqual(await Promise.all(Array.from({ length: 20 }, () => outcomeOf(token))), new Array(20).fill('good'));
    minutes(4);
    assert.equal(await outcomeOf(token), 'good');
    assert.equal(fetches, 1);
  });

  it('a key that is not there is fetched: at once where that may be, otherwise the token waits until it may', async () => {
    assert.equal(await outcomeOf(await first.sign()), 'good');
    answer = setOf(first.jwk, second.jwk);
    clock.advance(1_000);
    const [named, unnamed] = [outcomeOf(await second.sign()), outcomeOf(await second.sign(NONE))];
    await waiting(2);
    clock.advance(3_000);
    assert.deepEqual([keys.waiting, fetches], [2, 1]);
    clock.advance(1_000);
    assert.deepEqual([await named, await unnamed, fetches], ['good', 'good', 2]);
    answer = setOf(third.jwk);
    minutes(1);
    assert.deepEqual([await outcomeOf(await third.sign()), fetches], ['good', 3]);
  });

  it('a key that took over the name of another counts as one that is not there', async () => {
    assert.equal(await outcomeOf(await first.sign()), 'good');
    answer = setOf({ ...second.jwk, kid: '1' });
    minutes(1);
    assert.equal(await outcomeOf(await second.sign('1')), 'good');
    const former = outcomeOf(await first.sign('1'));
    await waiting(1);
    clock.advance(5_000);
    assert.equal(await former, 'no');
  });

  it('a flood of tokens of unknown keys makes one fetch in 5 s, and is told no only after it', async () => {
    assert.equal(await outcomeOf(await first.sign()), 'good');
    const token = await first.sign();
    const stranger = await second.sign('made up');
    for (let round = 0; round < 5; round++) {
      const flood = Array.from({ length: 100 }, () => outcomeOf(stranger));
      await waiting(100);
      assert.equal(await outcomeOf(token), 'good', 'who has a known key waits for nobody');
      clock.advance(5_000);
      assert.deepEqual(await Promise.all(flood), new Array(100).fill('no'));
    }
    assert.equal(fetches, 6);
  });

  it('at most 1,000 tokens wait; of the others nobody can tell now', async () => {
    assert.equal(await outcomeOf(await first.sign()), 'good');
    const stranger = await second.sign();
    const early = Array.from({ length: 1_000 }, () => outcomeOf(stranger));
    await waiting(1_000);
    assert.equal(await outcomeOf(stranger), 'unknown');
    assert.equal(await outcomeOf(await first.sign()), 'good');
    answer = setOf(second.jwk);
    clock.advance(5_000);
    assert.deepEqual(await Promise.all(early), new Array(1_000).fill('good'));
  });

  it('that were never to be had make nobody wait but for the fetch, and are tried again', async () => {
    answer = new Error('is answered with 500');
    assert.equal(await outcomeOf(await first.sign()), 'unknown');
    assert.equal(await outcomeOf(await first.sign()), 'unknown');
    assert.deepEqual([fetches, problems], [1, ['the JWKS by URL is answered with 500']]);
    answer = setOf(first.jwk);
    clock.advance(5_000);
    assert.deepEqual([await outcomeOf(await first.sign()), fetches], ['good', 2]);
  });

  it('that can’t be had any more are served stale for a day, and their age is told', async () => {
    const token = await first.sign();
    assert.equal(await outcomeOf(token), 'good');
    answer = new Error('is answered with 503');
    minutes(6);
    assert.equal(await outcomeOf(token), 'good');
    await settled();
    assert.equal(Math.round(keys.staleFor), 360);
    for (let hour = 0; hour < 23; hour++) {
      minutes(60);
      assert.equal(await outcomeOf(token), 'good');
      await settled();
    }
    assert.equal(await outcomeOf(await second.sign()), 'unknown', 'a key that is not there may be new');
    assert.deepEqual(problems, ['the JWKS by URL is answered with 503: the keys of before stay in use']);
    minutes(60);
    assert.equal(await outcomeOf(token), 'unknown');
    answer = setOf(first.jwk);
    clock.advance(5_000);
    assert.equal(await outcomeOf(token), 'good');
    assert.equal(keys.staleFor, 0);
  });

  it('make nobody wait for a server that hangs, while there are any', async () => {
    const token = await first.sign();
    assert.equal(await outcomeOf(token), 'good');
    answer = new Error('did not arrive within 5 s');
    minutes(6);
    assert.equal(await outcomeOf(token), 'good');
    await settled();
    const hung = Promise.withResolvers<string>();
    answer = hung.promise;
    minutes(60);
    assert.equal(await outcomeOf(token), 'good');
    hung.resolve(setOf(first.jwk));
  });

  it('that left the set are out at the next fetch, 10 minutes later at most', async () => {
    const token = await first.sign();
    assert.equal(await outcomeOf(token), 'good');
    answer = setOf(second.jwk);
    minutes(10);
    assert.equal(await outcomeOf(token), 'no');
    assert.equal(fetches, 2);
  });

  for (const [what, text] of Object.entries({ broken: 'oops', empty: '{"keys":[]}' }))
    it(`that are ${what} count as not to be had`, async () => {
      assert.equal(await outcomeOf(await first.sign()), 'good');
      answer = text;
      minutes(30);
      // Who comes first waits for the fetch, since nobody knows yet that it brings nothing.
      assert.equal(await outcomeOf(await first.sign()), 'good');
      assert.ok(keys.staleFor > 0);
    });
});

describe('the fetch of a JWKS', () => {
  async function serve(t: TestContext, listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    return `http://127.0.0.1:${address.port}/keys`;
  }

  it('brings what is there', async (t) => {
    const url = await serve(t, (_request, response) => response.end('{"keys":[]}'));
    assert.equal(await fetchJwks(url), '{"keys":[]}');
  });

  it('says why it brings nothing: a status, a redirect, too much, nobody there', async (t) => {
    const url = await serve(t, ({ url }, response) => {
      if (url === '/500') response.writeHead(500).end('oops');
      else if (url === '/302') response.writeHead(302, { location: '/keys' }).end();
      else if (url === '/big') response.end(Buffer.alloc(10 * 1024 * 1024, ' '));
      else response.end('{"keys":[]}');
    });
    const at = (path: string) => fetchJwks(new URL(path, url).href);
    await assert.rejects(at('/500'), { message: 'is answered with 500' });
    await assert.rejects(at('/302'), { message: 'is answered with 302: redirects are not followed' });
    await assert.rejects(at('/big'), { message: 'is larger than 1048576 bytes' });
    await assert.rejects(fetchJwks('http://127.0.0.1:1/'), { message: /^can't be fetched: / });
  });

  it('is given up after 5 s, in the middle of a body too', async (t) => {
    t.mock.method(AbortSignal, 'timeout', () => AbortSignal.abort());
    const url = await serve(t, (_request, response) => response.write('{'));
    await assert.rejects(fetchJwks(url), { message: 'did not arrive within 5 s' });
  });
});
