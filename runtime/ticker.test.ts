import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { onTick, onTickError, TICK_MS } from './ticker.ts';

describe('the tick of a process', () => {
  let ends: (() => void)[];

  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval'] });
    ends = [];
  });
  afterEach(() => {
    for (const end of ends) end();
    mock.timers.reset();
  });

  it('calls each of its listeners once a second, or at every so many seconds, at the same moment', () => {
    const heard = { always: 0, seldom: 0 };
    let together = 0;
    ends.push(onTick(() => heard.always++));
    ends.push(onTick(() => heard.seldom++, 2));
    ends.push(onTick(() => together++, 2));
    mock.timers.tick(10 * TICK_MS);
    assert.deepEqual(heard, { always: 10, seldom: 5 });
    assert.equal(together, heard.seldom);
  });

  it('leaves out a listener that ended, also one that another ends at the same tick', () => {
    const heard: string[] = [];
    ends.push(
      onTick(() => {
        heard.push('first');
        ends[1]?.();
      }),
    );
    ends.push(onTick(() => heard.push('second')));
    mock.timers.tick(2 * TICK_MS);
    assert.deepEqual(heard, ['first', 'first']);
  });

  it('calls the others where one throws, at each tick, and says so', () => {
    const errors: unknown[] = [];
    let heard = 0;
    onTickError((error) => errors.push(error));
    ends.push(() => onTickError(console.error));
    ends.push(
      onTick(() => {
        throw new Error('no');
      }),
    );
    ends.push(onTick(() => heard++));
    mock.timers.tick(3 * TICK_MS);
    assert.equal(heard, 3);
    assert.equal(errors.length, 3);
  });

  it('stops with its last listener, and begins again with the next', () => {
    let heard = 0;
    onTick(() => heard++)();
    mock.timers.tick(TICK_MS);
    assert.equal(heard, 0);
    ends.push(onTick(() => heard++));
    mock.timers.tick(TICK_MS);
    assert.equal(heard, 1);
  });
});
