import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from './fakeClock.ts';
import { LogRateLimit } from './logRateLimit.ts';

let clock: FakeClock;
let limit: LogRateLimit;
let told: number[];

beforeEach(() => {
  clock = new FakeClock();
  told = [];
  limit = new LogRateLimit(clock);
});

const admit = (kind: string) => limit.admit(kind, (suppressed) => told.push(suppressed));
const storm = (kind: string, events: number) =>
  Array.from({ length: events }, () => admit(kind)).filter((suppressed) => suppressed !== undefined).length;

describe('a log with a rate limit', () => {
  it('has the first lines of a storm, then one a second, which says how many were suppressed', () => {
    assert.equal(storm('refused', 1_000), 20);
    clock.freeze(1_000);
    assert.equal(admit('refused'), 980);
    assert.equal(admit('refused'), undefined);
    clock.freeze(1_000);
    assert.equal(admit('refused'), 1);
  });

  it('keeps every other kind whole while one storms', () => {
    storm('refused', 1_000);
    assert.equal(admit('closing'), 0);
  });

  it('says what was suppressed last, though no other line of the kind comes', () => {
    storm('refused', 120);
    clock.advance(10_000);
    assert.deepEqual(told, [100]);
    assert.equal(clock.timers, 0, 'it waits no more');
    assert.equal(admit('refused'), 0);
  });

  it('loses no line from the count, whatever the pace', () => {
    let written = 0;
    let suppressed = 0;
    for (let i = 0; i < 5_000; i++) {
      const before = admit('refused');
      if (before !== undefined) {
        written++;
        suppressed += before;
      }
      clock.advance(i % 7);
    }
    clock.advance(10_000);
    assert.equal(written + suppressed + told.reduce((sum, count) => sum + count, 0), 5_000);
    assert.ok(written + told.length <= 20 + clock.now() / 1_000 + 1);
  });

  it('lets all kinds beyond its limit share one', () => {
    const admitted = Array.from({ length: 1_000 }, (_, i) => admit(`kind ${i}`)).filter((left) => left !== undefined);
    assert.equal(admitted.length, 256 + 20);
  });
});
