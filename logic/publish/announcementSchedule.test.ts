import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AnnouncementSchedule } from './announcementSchedule.ts';

const subject = (name: string) => ({ name, pushed: -1 });

/** Names told at each of the next `ticks`. */
function told(schedule: AnnouncementSchedule<{ name: string; pushed: number }>, ticks: number): string[] {
  return Array.from({ length: ticks }, () =>
    schedule
      .tick()
      .map(({ name }) => name)
      .join(),
  );
}

describe('announcements', () => {
  it('are made twice after the last push of a subject, and then no more', () => {
    const schedule = new AnnouncementSchedule<{ name: string; pushed: number }>();
    schedule.pushed(subject('r'));
    assert.deepEqual(told(schedule, 9), ['', 'r', '', '', '', 'r', '', '', '']);
  });

  it('are not made of a room with one push per second: the next push serves as one', () => {
    const schedule = new AnnouncementSchedule<{ name: string; pushed: number }>();
    const steady = subject('steady');
    for (let i = 0; i < 50; i++) {
      schedule.pushed(steady);
      assert.deepEqual(schedule.tick(), []);
    }
    assert.deepEqual(told(schedule, 2), ['steady', '']);
  });

  it('repeat what was pushed in the last ten minutes when a gateway is back', () => {
    const schedule = new AnnouncementSchedule<{ name: string; pushed: number }>();
    schedule.pushed(subject('old'));
    told(schedule, 599);
    schedule.pushed(subject('young'));
    told(schedule, 6);
    schedule.repeat();
    assert.deepEqual(told(schedule, 2), ['young', '']);
    schedule.pushed(subject('fresh'));
    schedule.repeat();
    assert.deepEqual(told(schedule, 3), ['young', 'fresh', '']);
  });

  it('are limited per tick, and none is forgotten', () => {
    const schedule = new AnnouncementSchedule<{ name: string; pushed: number }>();
    for (let i = 0; i < 12_000; i++) schedule.pushed(subject(`r${i}`));
    schedule.tick();
    const ticks = [schedule.tick(), schedule.tick(), schedule.tick()];
    assert.deepEqual(
      ticks.map(({ length }) => length),
      [5_000, 5_000, 2_000],
    );
    assert.equal(new Set(ticks.flat()).size, 12_000);
  });

  it('of 100,000 subjects can be repeated', () => {
    const schedule = new AnnouncementSchedule<{ name: string; pushed: number }>();
    for (let i = 0; i < 100_001; i++) schedule.pushed(subject(`r${i}`));
    for (let tick = 0; tick < 50; tick++) schedule.tick();
    schedule.repeat();
    const names = new Set<string>();
    for (let tick = 0; tick < 25; tick++) for (const { name } of schedule.tick()) names.add(name);
    assert.equal(names.size, 100_000);
    assert.ok(!names.has('r0'));
  });
});
