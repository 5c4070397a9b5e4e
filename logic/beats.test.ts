import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Beats } from './beats.ts';

const subject = (name: string) => ({ name, pushed: -1 });

/** Names told at each of the next `ticks`. */
function told(beats: Beats<{ name: string; pushed: number }>, ticks: number): string[] {
  return Array.from({ length: ticks }, () =>
    beats
      .tick()
      .map(({ name }) => name)
      .join(),
  );
}

describe('beats', () => {
  it('tell a count twice after its last push, and then no more', () => {
    const beats = new Beats<{ name: string; pushed: number }>();
    beats.pushed(subject('r'));
    assert.deepEqual(told(beats, 9), ['', 'r', '', '', '', 'r', '', '', '']);
  });

  it('tell nothing of a room that has a push a second: the next one tells', () => {
    const beats = new Beats<{ name: string; pushed: number }>();
    const steady = subject('steady');
    for (let i = 0; i < 50; i++) {
      beats.pushed(steady);
      assert.deepEqual(beats.tick(), []);
    }
    assert.deepEqual(told(beats, 2), ['steady', '']);
  });

  it('tell once more what was pushed in the last ten minutes, where a gateway is back', () => {
    const beats = new Beats<{ name: string; pushed: number }>();
    beats.pushed(subject('old'));
    told(beats, 599);
    beats.pushed(subject('young'));
    told(beats, 6);
    beats.recall();
    assert.deepEqual(told(beats, 2), ['young', '']);
    beats.pushed(subject('fresh'));
    beats.recall();
    assert.deepEqual(told(beats, 3), ['young', 'fresh', '']);
  });

  it('tell so many at a time, and forget none', () => {
    const beats = new Beats<{ name: string; pushed: number }>();
    for (let i = 0; i < 12_000; i++) beats.pushed(subject(`r${i}`));
    beats.tick();
    const ticks = [beats.tick(), beats.tick(), beats.tick()];
    assert.deepEqual(
      ticks.map(({ length }) => length),
      [5_000, 5_000, 2_000],
    );
    assert.equal(new Set(ticks.flat()).size, 12_000);
  });

  it('remember 100,000 for a recall', () => {
    const beats = new Beats<{ name: string; pushed: number }>();
    for (let i = 0; i < 100_001; i++) beats.pushed(subject(`r${i}`));
    for (let tick = 0; tick < 50; tick++) beats.tick();
    beats.recall();
    const names = new Set<string>();
    for (let tick = 0; tick < 25; tick++) for (const { name } of beats.tick()) names.add(name);
    assert.equal(names.size, 100_000);
    assert.ok(!names.has('r0'));
  });
});
