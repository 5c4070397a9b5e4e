import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RolloutSlots } from './rolloutSlots.ts';

function slots(limit: number, rollingOut: string[] = []) {
  const woken: string[] = [];
  return { slots: new RolloutSlots({ limit, rollingOut: () => rollingOut, wake: (key) => woken.push(key) }), woken };
}

describe('slots of rollouts', () => {
  it('are as many as the limit; a PushCluster keeps its own until its rollout is complete', () => {
    const { slots: few, woken } = slots(2);
    assert.deepEqual(
      ['a/a', 'a/b', 'a/c', 'a/d', 'a/a'].map((key) => few.take(key, false)),
      [true, true, false, false, true],
    );
    few.update('a/b', { isRollingOut: true, waits: false });
    assert.deepEqual(woken, []);
    few.update('a/b', { isRollingOut: false, waits: false });
    assert.deepEqual(woken, ['a/c']);
    assert.equal(few.take('a/c', false), true);
    assert.equal(few.take('a/d', false), false);
  });

  it('count rollouts that were under way when the operator started', () => {
    const { slots: few } = slots(2, ['a/a', 'a/b']);
    assert.equal(few.take('a/c', false), false);
    assert.equal(few.take('a/a', false), true);
    assert.equal(few.sentence, 'at most 2 PushClusters do so at a time');
  });

  it('are not needed for a change of the spec, which takes one all the same', () => {
    const { slots: few } = slots(1, ['a/a']);
    assert.equal(few.take('a/b', true), true);
    few.update('a/a', { isRollingOut: false, waits: false });
    assert.equal(few.take('a/c', false), false);
  });

  it('become free when their PushCluster is deleted, which then no longer waits either', () => {
    const { slots: few, woken } = slots(1, ['a/a']);
    few.take('a/b', false);
    few.take('a/c', false);
    few.forget('a/b');
    few.forget('a/a');
    assert.deepEqual(woken, ['a/c']);
  });

  it('go to the next one where the first that waits needs none any more, because it was paused', () => {
    const { slots: few, woken } = slots(1, ['a/a']);
    for (const key of ['a/b', 'a/c']) {
      few.take(key, false);
      few.update(key, { isRollingOut: false, waits: true });
    }
    few.update('a/a', { isRollingOut: false, waits: false });
    few.update('a/b', { isRollingOut: false, waits: false });
    assert.deepEqual(woken, ['a/b', 'a/c']);
  });

  it('are not taken by one that waits and is scaled meanwhile', () => {
    const { slots: few } = slots(1, ['a/a']);
    few.take('a/b', false);
    few.update('a/b', { isRollingOut: true, waits: true });
    assert.equal(few.take('a/b', false), false);
  });

  it('are unlimited with 0', () => {
    const { slots: all } = slots(0, ['a/a', 'a/b', 'a/c']);
    assert.equal(all.take('a/d', false), true);
  });
});
