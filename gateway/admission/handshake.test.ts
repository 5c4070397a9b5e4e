import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AcceptRate, chooseSubprotocol, originAllowed, retryAfter } from './handshake.ts';

describe('the accept rate', () => {
  it('lets through so many a second, and at once no more than a second’s worth', () => {
    const rate = new AcceptRate();
    const taken = (now: number, tries: number) =>
      Array.from({ length: tries }, () => rate.take(10, now)).filter((through) => through).length;
    assert.equal(taken(0, 50), 10);
    assert.equal(taken(100, 50), 1);
    assert.equal(taken(1_100, 50), 10);
    assert.equal(taken(60_000, 50), 10);
  });

  it('does not stand still at a share below one a second', () => {
    const rate = new AcceptRate();
    assert.equal(rate.take(0.5, 0), true);
    assert.equal(rate.take(0.5, 1_900), false);
    assert.equal(rate.take(0.5, 2_000), true);
  });

  it('is none at 0', () => {
    const rate = new AcceptRate();
    for (let i = 0; i < 1_000; i++) assert.ok(rate.take(0, 0));
  });
});

describe('an origin', () => {
  it('is allowed where none are listed, where none is sent, and where a pattern matches', () => {
    assert.ok(originAllowed('https://a.example', []));
    assert.ok(originAllowed('', ['https://a.example']));
    assert.ok(originAllowed('https://x.a.example', ['https://b.example', 'https://*.a.example']));
    assert.ok(!originAllowed('https://evil.example', ['https://*.a.example']));
    assert.ok(!originAllowed('null', ['https://a.example']));
  });
});

describe('the subprotocol', () => {
  const served = ['pushcluster.v1', 'pushcluster.v1.deflate'];

  it('is the first offered that is served', () => {
    assert.equal(chooseSubprotocol('chat, pushcluster.v1.deflate,pushcluster.v1', served), 'pushcluster.v1.deflate');
    assert.equal(chooseSubprotocol('pushcluster.v1.deflate, pushcluster.v1', ['pushcluster.v1']), 'pushcluster.v1');
  });

  it('is none where none is offered or none is known', () => {
    assert.equal(chooseSubprotocol('', served), undefined);
    assert.equal(chooseSubprotocol('chat, PushCluster.v1', served), undefined);
  });
});

describe('Retry-After', () => {
  it('is spread over 1 to 5 seconds', () => {
    assert.deepEqual(
      [0, 0.25, 0.5, 0.75, 0.999].map((random) => retryAfter(() => random)),
      [1, 2, 3, 4, 5],
    );
  });
});
