import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { backgroundClock, pause, systemClock } from './clock.ts';
import { FakeClock } from './fakeClock.ts';

test('now() is the same in all processes of a machine', () => {
  const before = systemClock.now();
  const url = new URL('clock.ts', import.meta.url);
  const program = `import { systemClock } from ${JSON.stringify(url)}; console.log(systemClock.now())`;
  const there = Number(execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' }));
  assert.ok(before <= there && there <= systemClock.now(), `${there} is not between our ${before} and now`);
});

test('a timer of any length does not fire at once, and a cancelled one never', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let fired = 0;
  for (const clock of [systemClock, backgroundClock]) {
    clock.after(Number.POSITIVE_INFINITY, () => fired++);
    clock.after(5, () => fired++)();
  }
  t.mock.timers.tick(2 ** 31 - 2);
  assert.equal(fired, 0);
  t.mock.timers.tick(1);
  assert.equal(fired, 2);
});

test('a pause ends after its time, or at once when it is aborted', async () => {
  const clock = new FakeClock();
  const timed = pause(clock, 100);
  clock.advance(100);
  await timed;
  const abort = new AbortController();
  const aborted = pause(clock, 100, abort.signal);
  abort.abort();
  await aborted;
  await pause(clock, 100, abort.signal);
  assert.equal(clock.timers, 0);
});

test('the fake clock runs timers in the order of their times, and what is due in the next turn before them', () => {
  const clock = new FakeClock();
  const ran: string[] = [];
  clock.after(20, () => ran.push(`second at ${clock.now()}`));
  clock.after(10, () => {
    ran.push(`first at ${clock.now()}`);
    clock.soon(() => ran.push('turn'));
  });
  clock.after(30, () => ran.push('never'))();
  clock.advance(25);
  assert.deepEqual(ran, ['first at 10', 'turn', 'second at 20']);
  assert.equal(clock.now(), 25);
  assert.equal(clock.timers, 0);
});

test('the fake clock can stand still for its timers, and its wall clock can be set', () => {
  const clock = new FakeClock();
  let ran = 0;
  clock.after(10, () => ran++);
  clock.freeze(50);
  assert.deepEqual([clock.now(), ran], [50, 0]);
  const wall = clock.wall();
  clock.step(-1_000);
  assert.deepEqual([clock.now(), clock.wall() - wall], [50, -1_000]);
  clock.advance(0);
  assert.equal(ran, 1);
});
