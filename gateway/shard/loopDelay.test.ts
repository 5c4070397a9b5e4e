import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { LoopDelay } from './loopDelay.ts';

let clock: FakeClock;
let delay: LoopDelay;

beforeEach(() => {
  clock = new FakeClock();
  delay = new LoopDelay(clock);
});

describe("the delay of a shard's loop", () => {
  it('is none while timers run at their time', () => {
    for (let second = 0; second < 3; second++) {
      clock.advance(1_000);
      assert.equal(delay.tick(), 0);
    }
  });

  it('is that of a late tick', () => {
    clock.advance(900);
    clock.freeze(250);
    assert.equal(delay.tick(), 150);
  });

  it('is that of a late sample between two ticks, and is told once', () => {
    clock.advance(400);
    clock.freeze(300);
    clock.advance(300);
    assert.equal(delay.tick(), 200);
    clock.advance(1_000);
    assert.equal(delay.tick(), 0);
  });

  it('counts a sample that has not run yet at a tick that comes first', () => {
    clock.freeze(1_050);
    assert.equal(delay.tick(), 550);
    assert.equal(clock.timers, 1);
  });
});
