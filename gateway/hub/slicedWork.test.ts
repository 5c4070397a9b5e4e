import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { SlicedWork } from './slicedWork.ts';

describe('sliced work', () => {
  let clock: FakeClock;
  let failed: unknown[];
  let done: string[];
  let work: SlicedWork;

  beforeEach(() => {
    clock = new FakeClock();
    failed = [];
    done = [];
    work = new SlicedWork({ clock, failed: (error) => failed.push(error) });
  });

  /** Takes 3 ms. */
  const visit = (item: string) => {
    clock.freeze(3);
    if (item === 'bad') throw new Error('bad');
    done.push(item);
  };

  /** What is done in each turn of the loop. */
  function turns(): string[] {
    const turns: string[] = [];
    for (let from = done.length; clock.turn(); from = done.length) turns.push(done.slice(from).join(' '));
    return turns;
  }

  it('begins at once, and is done in slices between which the loop serves others', () => {
    work.start(['a', 'b', 'c', 'd', 'e', 'f', 'g'], visit);
    assert.deepEqual(done, ['a', 'b', 'c']);
    assert.deepEqual(turns(), ['d e f', 'g', '']);
  });

  it('shares the slice of a turn: tasks take turns', () => {
    work.start(['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7'], visit);
    work.start(['b1', 'b2', 'b3', 'b4'], visit);
    assert.deepEqual(done, ['a1', 'a2', 'a3']);
    assert.deepEqual(turns(), ['a4 a5 a6', 'b1 b2 b3', 'a7 b4', '']);
  });

  it('waits for the next turn where the slice of this one is over', () => {
    work.start(['a', 'b', 'c'], visit);
    work.start(['d'], visit);
    assert.deepEqual(done, ['a', 'b', 'c']);
    assert.deepEqual(turns(), ['d', '']);
    assert.equal(clock.turn(), false);
  });

  it('goes on after an item that failed', () => {
    work.start(['a', 'bad', 'b', 'c'], visit);
    assert.deepEqual(turns(), ['c', '']);
    assert.equal(failed.length, 1);
  });

  it('takes what is added meanwhile, and may be started from within', () => {
    const items = new Set(['a', 'b', 'c', 'd']);
    work.start(items, (item) => {
      visit(item);
      if (item === 'a') work.start(['z'], visit);
    });
    items.delete('d');
    items.add('e');
    turns();
    assert.deepEqual(done, ['a', 'b', 'c', 'z', 'e']);
  });
});
