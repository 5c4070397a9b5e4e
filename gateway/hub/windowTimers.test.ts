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

  it('end each window once for its last time, however it was set and cancelled', () => {
    const step = fc.record({ index: fc.nat(3), delay: fc.option(fc.integer({ min: 0, max: 12 })), pass: fc.nat(3) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        ended = [];
        const windows = [0, 1, 2, 3].map((i) => window(`${i}`));
        const due = new Map<string, number>();
        let last = 0;
        // A window that has ended was due, and is not any more.
        const check = () => {
          for (const [name, at] of ended.slice(last)) {
            const time = due.get(name);
            assert.ok(time !== undefined && at >= time && at - time < 4.001, `${name} at ${at}, due ${time}`);
            due.delete(name);
          }
          last = ended.length;
        };
        for (const { index, delay, pass } of steps) {
          const one = windows[index]!;
          if (delay === null) {
            timers.cancel(one);
            due.delete(one.name);
          } else {
            timers.set(one, clock.now() + delay);
            due.set(one.name, clock.now() + delay);
          }
          clock.advance(pass);
          check();
        }
        clock.advance(100);
        check();
        assert.equal(due.size, 0);
      }),
    );
  });

  it('pass over a window that one before it has cancelled or set anew', () => {
    const [first, cancelled, later] = [window('first'), window('cancelled'), window('later')];
    timers = new WindowTimers(clock, (one) => {
      ended.push([one.name, clock.now()]);
      if (one !== first) return;
      timers.cancel(cancelled);
      timers.set(later, 200);
    });
    for (const one of [first, cancelled, later]) timers.set(one, 100);
    clock.advance(1_000);
    assert.deepEqual(ended, [
      ['first', 100],
      ['later', 200],
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
