import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ItemCounters } from './itemCounters.ts';

const counters = (maxSubjects?: number) => new ItemCounters('p', () => 1_000, maxSubjects);

describe('the counters of items', () => {
  it('start at 1 for each subject, after the heartbeat of their first item', () => {
    const all = counters();
    const { publisher, next, begun, first, beat, mark } = all.of('a', 7);
    assert.deepEqual([publisher, next, begun, first, beat, mark], ['p', 1, 1_000, 7, 7, 1]);
    assert.equal(all.of('a', 7), all.of('a', 8));
    assert.notEqual(all.of('a', 8), all.of('b', 8));
  });

  it('mark the first item after each heartbeat', () => {
    const all = counters();
    const counter = all.of('a', 1);
    counter.next += 3;
    all.of('a', 1);
    assert.deepEqual([counter.beat, counter.mark, counter.first], [1, 1, 1]);
    all.of('a', 2);
    assert.deepEqual([counter.beat, counter.mark, counter.first], [2, 4, 1]);
  });

  it('take another publisher name when they forget subjects', () => {
    const all = counters(1);
    assert.equal(all.of('a', 1).publisher, 'p');
    assert.equal(all.of('b', 1).publisher, 'p.1');
    assert.equal(all.of('a', 1).publisher, 'p.2');
    assert.equal(all.publisher, 'p.2');
  });

  it('take another publisher name for a subject whose numbers were abandoned', () => {
    const all = counters();
    const counter = all.of('a', 1);
    const other = all.of('b', 1);
    counter.next = 5;
    all.abandon(counter, 3);
    assert.equal(counter.next, 3, 'what was sent before is still announced');
    assert.deepEqual([all.of('a', 1).publisher, all.of('a', 1).next], ['p.1', 1]);
    assert.equal(all.of('b', 1), other);
  });

  it('keep a subject whose numbers were not used, and one that was abandoned before', () => {
    const all = counters();
    const counter = all.of('a', 1);
    all.abandon(counter, 1);
    assert.equal(all.of('a', 1), counter);
    counter.next = 9;
    all.abandon(counter, 5);
    const renewed = all.of('a', 1);
    all.abandon(counter, 1);
    assert.equal(all.of('a', 1), renewed);
    assert.equal(all.publisher, 'p.1');
  });
});
