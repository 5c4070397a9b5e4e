import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FAULTS, Schedule, schedule } from './nemesis.ts';

describe('the schedule of a run', () => {
  it('is the same for the same seed, and another for another', () => {
    assert.deepEqual(schedule(7, 50), schedule(7, 50));
    assert.notDeepEqual(schedule(7, 50), schedule(8, 50));
    assert.deepEqual(schedule(7, 50).slice(0, 20), schedule(7, 20), 'more faults come after the others');
  });

  it('has each kind of fault before any comes again, one after another', () => {
    const faults = schedule(3, 2 * FAULTS.length);
    for (const half of [faults.slice(0, FAULTS.length), faults.slice(FAULTS.length)])
      assert.deepEqual(half.map(({ name }) => name).sort(), [...FAULTS].sort());
    assert.ok(faults.every(({ at }, i) => i === 0 || at > faults[i - 1]!.at));
  });

  it('is the same when it is read from its file', () => {
    const whole = { seed: 7, faults: schedule(7, 30) };
    assert.deepEqual(Schedule.parse(JSON.parse(JSON.stringify(whole))), whole);
    assert.throws(() => Schedule.parse({ seed: 7, faults: [{ ...whole.faults[0], name: 'no such fault' }] }));
  });
});
