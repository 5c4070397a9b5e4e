import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import fc from 'fast-check';
import { type Due, WindowTimers } from './windowTimers.ts';

type Window = Due & { name: string; bad?: boolean };

describe('the timers of all windows', () => {
  let clock: FakeClock;
  let ended: [name: string, at: number][];
  let timers: WindowTimers<Window>;

  beforeEach(() => {
    clock = new FakeClock();
    ended = [];
    timers = new WindowTimers(clock, (window) => {
      if (window.bad) throw new Error('it can’t');
      ended.push([window.name, clock.now()]);
    });
  });

  const window = (name: string): Window => ({ name, tick: undefined });

  it('end each window at its time or a little later, and never early', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 60 }), (delays) => {
        ended = [];
        const from = clock.now();
        for (const [i, delay] of delays.entries()) timers.set(window(`${i}`), from + delay);
        clock.advance(3_010);
        assert.equal(ended.length, delays.length);
        for (const [name, at] of ended) {
          const late = at - from - delays[Number(name)]!;
          assert.ok(late >= 0 && late < 4.001, `${late} ms late`);
        }
        assert.equal(clock.timers, 0);
      }),
    );
  });

  it('are one of the clock, however many windows there are', () => {
    for (let i = 0; i < 1_000; i++) timers.set(window(`${i}`), 100 + (i % 500));
    assert.equal(clock.timers, 1);
    clock.advance(700);
    assert.equal(ended.length, 1_000);
    assert.equal(clock.timers, 0);
  });

  it('can be set anew and cancelled', () => {
    const [early, late, never] = [window('early'), window('late'), window('never')];
    timers.set(late, 100);
    timers.set(late, 200);
    timers.set(early, 300);
    timers.set(early, 100);
    timers.set(never, 100);
    timers.cancel(never);
    clock.advance(1_000);
    assert.deepEqual(ended, [
      ['early', 100],
      ['late', 200],
    ]);
  });

  it('end late windows together, in the order of their times', () => {
    for (const at of [40, 20, 60]) timers.set(window(`${at}`), at);
    clock.freeze(100);
    clock.advance(1);
    assert.deepEqual(ended, [
      ['20', 100],
      ['40', 100],
      ['60', 100],
    ]);
  });

  it('go on after a window that failed', () => {
    timers.set({ name: 'bad', tick: undefined, bad: true }, 8);
    timers.set(window('good'), 8);
    assert.throws(() => clock.advance(10));
    clock.advance(10);
    assert.deepEqual(ended, [['good', 8]]);
  });

  it('can be set from within the end of one', () => {
    const again = window('again');
    timers = new WindowTimers(clock, (one) => {
      ended.push([one.name, clock.now()]);
      if (ended.length < 3) timers.set(one, clock.now() + 100);
    });
    timers.set(again, 100);
    clock.advance(1_000);
    assert.deepEqual(
      ended.map(([, at]) => at),
      [100, 200, 300],
    );
  });
});
