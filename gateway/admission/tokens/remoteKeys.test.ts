import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { joseKey, jwksOf } from '@pushcluster/test/harness/joseKeys.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { errors } from 'jose';
import { KeysUnavailable, RemoteKeys } from './remoteKeys.ts';

const NONE = null;

const [first, second, third] = await Promise.all([joseKey('ES256', '1'), joseKey('ES256', '2'), joseKey('ES256', '3')]);

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
    answer = jwksOf(first.jwk);
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
    answer = jwksOf(first.jwk, second.jwk);
    clock.advance(1_000);
    const [named, unnamed] = [outcomeOf(await second.sign()), outcomeOf(await second.sign(NONE))];
    await waiting(2);
    clock.advance(3_000);
    assert.deepEqual([keys.waiting, fetches], [2, 1]);
    clock.advance(1_000);
    assert.deepEqual([await named, await unnamed, fetches], ['good', 'good', 2]);
    answer = jwksOf(third.jwk);
    minutes(1);
    assert.deepEqual([await outcomeOf(await third.sign()), fetches], ['good', 3]);
  });

  it('a key that took over the name of another counts as one that is not there', async () => {
    assert.equal(await outcomeOf(await first.sign()), 'good');
    answer = jwksOf({ ...second.jwk, kid: '1' });
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
    answer = jwksOf(second.jwk);
    clock.advance(5_000);
    assert.deepEqual(await Promise.all(early), new Array(1_000).fill('good'));
  });

  it('that were never to be had make nobody wait but for the fetch, and are tried again', async () => {
    answer = new Error('is answered with 500');
    assert.equal(await outcomeOf(await first.sign()), 'unknown');
    assert.equal(await outcomeOf(await first.sign()), 'unknown');
    assert.deepEqual([fetches, problems], [1, ['the JWKS by URL is answered with 500']]);
    answer = jwksOf(first.jwk);
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
    answer = jwksOf(first.jwk);
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
    hung.resolve(jwksOf(first.jwk));
  });

  it('that left the set are out at the next fetch, 10 minutes later at most', async () => {
    const token = await first.sign();
    assert.equal(await outcomeOf(token), 'good');
    answer = jwksOf(second.jwk);
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
