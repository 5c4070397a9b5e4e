import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { DrainSchedule } from './drainSchedule.ts';

type Ask = { at: number; count: number };

/** Drains so many connections with a step every so often. Returns what was asked for, and when. */
function drain(options: {
  connections: number;
  rate: number;
  timeout: number;
  maxDelay?: number;
  began?: number;
  every: (step: number) => number;
}): { asks: Ask[]; left: number; end: number; within: number } {
  const { rate, timeout, maxDelay = 1_000, began = 5_000 } = options;
  const schedule = new DrainSchedule(
    () => rate,
    began,
    timeout,
    () => maxDelay,
  );
  const asks: Ask[] = [];
  let left = options.connections;
  let within = 0;
  let now = began;
  for (let step = 0; now < schedule.end; step++) {
    const asked = schedule.step(now, left);
    within = asked.withinMs;
    left -= asked.count;
    if (asked.count > 0) asks.push({ at: now, count: asked.count });
    now += options.every(step);
  }
  return { asks, left, end: schedule.end, within };
}

/** The most that was asked within any second. */
function busiest(asks: readonly Ask[]): number {
  let most = 0;
  for (const [i, { at }] of asks.entries()) {
    let sum = 0;
    for (const ask of asks.slice(i)) if (ask.at < at + 1_000) sum += ask.count;
    most = Math.max(most, sum);
  }
  return most;
}

describe('the schedule of a drain', () => {
  it('asks at the rate where there is time enough', () => {
    const { asks, left } = drain({ connections: 1_000, rate: 200, timeout: 300_000, every: () => 100 });
    assert.equal(left, 0);
    assert.ok(asks.every(({ count }) => count <= 20));
    const took = asks.at(-1)!.at - asks[0]!.at;
    assert.ok(took >= 4_800 && took <= 5_200, `${took} ms`);
  });

  it('never asks more than 1.2 times the rate in a second where there is time, whatever the steps are late', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.array(fc.oneof(fc.integer({ min: 90, max: 130 }), fc.constantFrom(250, 1_000, 4_000)), {
        minLength: 1,
        maxLength: 40,
        size: 'max',
      }),
      (rate, waits) => {
        const every = (step: number) => waits[step % waits.length]!;
        const { asks, left } = drain({ connections: rate * 5, rate, timeout: 3_600_000, every });
        assert.equal(left, 0);
        // One more, since people are whole.
        assert.ok(busiest(asks) <= 1.2 * rate + 1, `${busiest(asks)} at a rate of ${rate}`);
      },
    );
    fc.assert(property);
  });

  it('has asked everyone early enough for them to move, however many they are', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 50_000 }),
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 1_000, max: 300_000 }),
      fc.constantFrom(0, 1_000, 10_000),
      (connections, rate, timeout, maxDelay) => {
        const { asks, left, end, within } = drain({ connections, rate, timeout, maxDelay, every: () => 100 });
        assert.equal(left, 0);
        const last = asks.at(-1)!.at;
        assert.ok(last + within <= end + 200, `asked at ${last}, ${within} ms to move, the end is at ${end}`);
      },
    );
    fc.assert(property);
  });

  it('rises evenly where time is short, and not in one burst at the end', () => {
    const { asks, left } = drain({ connections: 6_000, rate: 10, timeout: 65_000, every: () => 100 });
    assert.equal(left, 0);
    // 60 s less 8 s to move: 116 a second.
    assert.ok(busiest(asks) <= 1.2 * 116, `${busiest(asks)} in the busiest second`);
  });

  it('ends 5 s before the timeout, or half-way through a short one', () => {
    const end = (timeout: number) =>
      new DrainSchedule(
        () => 1,
        0,
        timeout,
        () => 0,
      ).end;
    assert.deepEqual([300_000, 10_000, 4_000].map(end), [295_000, 5_000, 2_000]);
  });

  it('gives 8 s to move, or three of the longest window, or a quarter of a short timeout; and says how long to overlap', () => {
    const told = (timeout: number, longest: number) => {
      const { withinMs, overlapMs } = new DrainSchedule(
        () => 1,
        0,
        timeout,
        () => longest,
      ).step(0, 1);
      return [withinMs, overlapMs];
    };
    assert.deepEqual(told(300_000, 1_000), [8_000, 2_000]);
    assert.deepEqual(told(300_000, 10_000), [30_000, 11_000]);
    assert.deepEqual(told(4_000, 1_000), [1_000, 2_000]);
    assert.deepEqual(told(100, 1_000), [200, 2_000]);
  });

  it('knows when the timeout is too short for the longest window', () => {
    const isTooShort = (timeout: number, longest: number) =>
      new DrainSchedule(
        () => 1,
        0,
        timeout,
        () => longest,
      ).tooShort;
    assert.deepEqual([isTooShort(43_000, 10_000), isTooShort(44_000, 10_000)], [true, false]);
  });

  it('follows a window that changes live', () => {
    let longest = 1_000;
    const schedule = new DrainSchedule(
      () => 1,
      0,
      3_600_000,
      () => longest,
    );
    assert.equal(schedule.step(0, 1).withinMs, 8_000);
    longest = 10_000;
    assert.equal(schedule.step(0, 1).withinMs, 30_000);
  });

  it('follows a rate that changes live', () => {
    let rate = 10;
    const schedule = new DrainSchedule(
      () => rate,
      0,
      3_600_000,
      () => 0,
    );
    assert.equal(schedule.step(100, 1_000).count, 1);
    rate = 100;
    assert.equal(schedule.step(200, 1_000).count, 10);
  });
});
