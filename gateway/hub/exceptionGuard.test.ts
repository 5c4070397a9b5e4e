import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { pino } from 'pino';
import { ExceptionGuard, type Guarded } from './exceptionGuard.ts';
import { guardedClock } from './guardedClock.ts';

function guardWith(now: () => number) {
  const lines: string[] = [];
  const counted: Guarded[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  return { lines, counted, guard: new ExceptionGuard(log, (place) => counted.push(place), now) };
}

test('what one event throws is counted each time, and logged once a minute for each place', () => {
  let now = 0;
  const { lines, counted, guard } = guardWith(() => now);
  let ran = 0;
  const fail = () => {
    ran++;
    throw new RangeError('too large');
  };
  for (let i = 0; i < 100; i++) guard.run('shard', fail);
  guard.run('timer', fail);
  assert.equal(ran, 101);
  assert.equal(counted.filter((place) => place === 'shard').length, 100);
  assert.equal(lines.length, 2);
  assert.match(lines[0]!, /too large/);
  now += 60_000;
  guard.run('shard', fail);
  assert.equal(lines.length, 3);
});

test('a timer that throws keeps no other from running', () => {
  const { counted, guard } = guardWith(() => 0);
  const fake = new FakeClock();
  const clock = guardedClock(fake, guard);
  const ran: string[] = [];
  const failing = (name: string) => () => {
    ran.push(name);
    throw new Error(name);
  };
  clock.after(1, failing('first'));
  clock.after(2, () => ran.push('second'));
  clock.soon(failing('soon'));
  fake.advance(5);
  assert.deepEqual(ran, ['soon', 'first', 'second']);
  assert.deepEqual(counted, ['timer', 'timer']);
});
