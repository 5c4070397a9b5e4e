import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PushHeader } from '@pushcluster/protocol/push.ts';
import fc from 'fast-check';
import { Publishers } from './publishers.ts';

const SUBSCRIBED = 1_000;

function header(publisher: string, counter: number, begun = 0): PushHeader {
  return { publisher, counter, at: 0, begun, urgent: false, id: '' };
}

function subscribed(): Publishers {
  const publishers = new Publishers();
  publishers.since = SUBSCRIBED;
  return publishers;
}

describe('the publishers of a subject', () => {
  it('are believed at their first message, whatever its counter', () => {
    assert.deepEqual(subscribed().accept(header('p', 17), 3), { gap: 0, repeats: 0 });
  });

  it('show a gap by a counter that jumps', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 3);
    assert.deepEqual(publishers.accept(header('p', 4), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 9), 2), { gap: 4, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p', 11), 1), { gap: 0, repeats: 0 });
  });

  it('show repeats, whole and in part, and are not set back by them', () => {
    const publishers = subscribed();
    publishers.accept(header('p', 1), 5);
    assert.deepEqual(publishers.accept(header('p', 1), 2), { gap: 0, repeats: 2 });
    assert.deepEqual(publishers.accept(header('p', 4), 4), { gap: 0, repeats: 2 });
    assert.deepEqual(publishers.accept(header('p', 8), 1), { gap: 0, repeats: 0 });
  });

  it('that began after the subscription are told from those that it came in between', () => {
    const publishers = subscribed();
    assert.deepEqual(publishers.accept(header('new', 4, SUBSCRIBED + 1), 1), { gap: 3, repeats: 0 });
    assert.deepEqual(publishers.accept(header('old', 4, SUBSCRIBED - 1), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('unknown', 4), 1), { gap: 0, repeats: 0 });
  });

  it('show no gap at their first message while the subscription is not known to the server', () => {
    assert.deepEqual(new Publishers().accept(header('p', 4, Number.MAX_SAFE_INTEGER), 1), { gap: 0, repeats: 0 });
  });

  it('are 64 at most; of one that was forgotten no gap is made up', () => {
    const publishers = subscribed();
    for (let i = 0; i < 65; i++) publishers.accept(header(`p${i}`, 1, SUBSCRIBED + 1), 1);
    // p0 was the longest silent.
    assert.deepEqual(publishers.accept(header('p0', 50, SUBSCRIBED + 1), 1), { gap: 0, repeats: 0 });
    assert.deepEqual(publishers.accept(header('p2', 4, SUBSCRIBED + 1), 1), { gap: 2, repeats: 0 });
  });

  it('account for every item: what was new, what was lost, and what was repeated', () => {
    const message = fc.record({
      publisher: fc.constantFrom('a', 'b', 'c'),
      count: fc.integer({ min: 1, max: 5 }),
      fate: fc.constantFrom('comes', 'comes', 'comes', 'lost', 'twice'),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 60, size: 'max' }), (messages) => {
        const publishers = subscribed();
        const published = new Map<string, number>();
        const seen = new Map<string, number>();
        for (const { publisher, count, fate } of messages) {
          const counter = (published.get(publisher) ?? 0) + 1;
          published.set(publisher, counter + count - 1);
          if (fate === 'lost') continue;
          const { gap, repeats } = publishers.accept(header(publisher, counter, SUBSCRIBED + 1), count);
          assert.equal(repeats, 0);
          seen.set(publisher, (seen.get(publisher) ?? 0) + gap + count);
          assert.equal(seen.get(publisher), counter + count - 1, 'new and lost are not all that was published');
          if (fate === 'twice')
            assert.deepEqual(publishers.accept(header(publisher, counter), count), { gap: 0, repeats: count });
        }
      }),
    );
  });
});
