import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { BEAT_MS, onBeat, onBeatError } from './beat.ts';

describe('the beat of a process', () => {
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
    ends.push(onBeat(() => heard.always++));
    ends.push(onBeat(() => heard.seldom++, 2));
    ends.push(onBeat(() => together++, 2));
    mock.timers.tick(10 * BEAT_MS);
    assert.deepEqual(heard, { always: 10, seldom: 5 });
    assert.equal(together, heard.seldom);
  });

  it('leaves out a listener that ended, also one that another ends at the same beat', () => {
    const heard: string[] = [];
    ends.push(
      onBeat(() => {
        heard.push('first');
        ends[1]?.();
      }),
    );
    ends.push(onBeat(() => heard.push('second')));
    mock.timers.tick(2 * BEAT_MS);
    assert.deepEqual(heard, ['first', 'first']);
  });

  it('calls the others where one throws, at each beat, and says so', () => {
    const errors: unknown[] = [];
    let heard = 0;
    onBeatError((error) => errors.push(error));
    ends.push(() => onBeatError(console.error));
    ends.push(
      onBeat(() => {
        throw new Error('no');
      }),
    );
    ends.push(onBeat(() => heard++));
    mock.timers.tick(3 * BEAT_MS);
    assert.equal(heard, 3);
    assert.equal(errors.length, 3);
  });

  it('stops with its last listener, and begins again with the next', () => {
    let heard = 0;
    onBeat(() => heard++)();
    mock.timers.tick(BEAT_MS);
    assert.equal(heard, 0);
    ends.push(onBeat(() => heard++));
    mock.timers.tick(BEAT_MS);
    assert.equal(heard, 1);
  });
});
