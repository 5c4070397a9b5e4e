import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeLoop } from '../simulation/shard.ts';
import { LongTurn } from './longTurn.ts';

describe('a turn of the loop with many events', () => {
  const clock = new FakeLoop();
  let served: number[] = [];
  const turn = new LongTurn({ loop: clock, serve: () => served.push(clock.now()) });
  /** Events that take a millisecond each. @returns how many came before each that was followed by the hub */
  const events = (count: number): number[] => {
    const began = clock.now();
    served = [];
    for (let event = 0; event < count; event++) {
      clock.time++;
      turn.handled();
    }
    const at = served.map((time) => time - began);
    clock.idle();
    return at;
  };

  it('serves the hub every four milliseconds, and not in a short turn', () => {
    assert.deepEqual(events(14), [5, 9, 13]);
    assert.deepEqual(events(4), []);
    clock.time += 1_000;
    assert.deepEqual(events(4), [], 'a turn begins with its first event');
    assert.deepEqual(events(6), [5]);
  });

  it('serves nothing while the hub is served, or its messages are handled', () => {
    let depth = 0;
    const inner = new LongTurn({
      loop: clock,
      serve: () => {
        assert.equal(++depth, 1);
        clock.time += 10;
        inner.handled();
        depth--;
      },
    });
    for (let event = 0; event < 20; event++) {
      clock.time++;
      inner.handled();
    }
    inner.during(() => {
      depth = 1;
      clock.time += 10;
      inner.handled();
      depth = 0;
    });
  });

  it('goes on after an error of the hub’s', () => {
    let fails = true;
    let calls = 0;
    const failing = new LongTurn({
      loop: clock,
      serve: () => {
        calls++;
        if (fails) throw new Error('oops');
      },
    });
    failing.handled();
    clock.time += 5;
    assert.throws(() => failing.handled(), /oops/);
    fails = false;
    clock.time += 5;
    failing.handled();
    assert.equal(calls, 2);
  });
});
