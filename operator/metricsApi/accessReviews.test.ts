import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Client } from '../kube/client.ts';
import type { Answer, Request } from '../kube/connection.ts';
import { AccessReviews, TooManyReviews } from './accessReviews.ts';
import type { Caller } from './frontProxy.ts';

const caller: Caller = { name: 'ann', uid: undefined, groups: ['system:authenticated'], extra: {} };
const path = { verb: 'get', path: '/apis' } as const;

/** The questions' ways and counts; what an API server answers is in the integration test. */
function setUp(answer: (question: unknown, path: string) => object | Promise<object>) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const client = new Client({
    namespace: 'default',
    async send(request: Request): Promise<Answer> {
      asked.push(request.path);
      const body = JSON.stringify(await answer(JSON.parse(request.body ?? ''), request.path));
      return { status: 201, headers: {}, text: async () => body, stream: () => undefined };
    },
  });
  return { reviews: new AccessReviews(client, clock), clock, asked };
}

describe('questions about callers', () => {
  it('are put once for 10 s, and then again', async () => {
    const { reviews, clock, asked } = setUp(() => ({ status: { allowed: true } }));
    for (let turn = 0; turn < 3; turn++) assert.equal((await reviews.mayDo(caller, path)).allowed, true);
    assert.equal(asked.length, 1);
    await reviews.mayDo({ ...caller, name: 'bob' }, path);
    assert.equal(asked.length, 2);
    clock.advance(10_001);
    await reviews.mayDo(caller, path);
    assert.equal(asked.length, 3);
  });

  it('are not put about those who may do everything', async () => {
    const { reviews, asked } = setUp(() => ({}));
    assert.equal((await reviews.mayDo({ ...caller, groups: ['system:masters'] }, path)).allowed, true);
    assert.deepEqual(asked, []);
  });

  it('that nobody answered are put again at once', async () => {
    let isDown = true;
    const { reviews } = setUp(() => {
      if (isDown) throw new Error('nobody is there');
      return { status: { authenticated: true, user: { username: 'ann', groups: ['shop'] } } };
    });
    await assert.rejects(reviews.tokenOf('t'), /nobody is there/);
    isDown = false;
    assert.deepEqual((await reviews.tokenOf('t'))?.groups, ['shop', 'system:authenticated']);
  });

  it('know nobody by a token that does not count', async () => {
    const { reviews } = setUp(() => ({ status: { authenticated: false, user: {} } }));
    assert.equal(await reviews.tokenOf('t'), undefined);
  });

  it('are 32 at a time at most, and their answers 2,000: strangers can come with any token', async () => {
    const open: (() => void)[] = [];
    const { reviews } = setUp(() => new Promise((resolve) => open.push(() => resolve({ status: {} }))));
    const first = Array.from({ length: 32 }, (_, index) => reviews.tokenOf(`t${index}`));
    await assert.rejects(reviews.tokenOf('one more'), TooManyReviews);
    await setImmediate();
    for (const answer of open.splice(0)) answer();
    await Promise.all(first);
    for (let index = 0; index < 2_100; index++) {
      const asking = reviews.tokenOf(`u${index}`);
      await setImmediate();
      for (const answer of open.splice(0)) answer();
      await asking;
    }
    assert.equal(reviews.size, 2_000);
  });
});
