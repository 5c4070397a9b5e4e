import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameBudget, LEAST_CORES, type Load, MOST_CORES } from './frameBudget.ts';

const IDLE: Load = { busy: 0, lateMs: 0, backlog: 0 };
const load = fc.record({
  busy: fc.double({ min: 0, max: 2, noNaN: true }),
  lateMs: fc.double({ min: 0, max: 20_000, noNaN: true }),
  backlog: fc.double({ min: 0, max: 2, noNaN: true }),
});
const loads = fc.array(load, { maxLength: 50 });

function after(loads: readonly Load[]): FrameBudget {
  const budget = new FrameBudget();
  for (const load of loads) budget.read(load);
  return budget;
}

describe('the budget for frames', () => {
  it('stays within its bounds, whatever is measured', () => {
    fc.assert(
      fc.property(loads, (loads) => {
        const { cores } = after(loads);
        assert.ok(cores >= LEAST_CORES && cores <= MOST_CORES, `${cores}`);
      }),
    );
  });

  it('is no larger after a heavier load', () => {
    fc.assert(
      fc.property(loads, load, load, (before, one, other) => {
        const heavier = {
          busy: Math.max(one.busy, other.busy),
          lateMs: Math.max(one.lateMs, other.lateMs),
          backlog: Math.max(one.backlog, other.backlog),
        };
        assert.ok(after([...before, heavier]).cores <= after([...before, one]).cores);
      }),
    );
  });

  it('falls by a loop that is late, and by a backlog, as by a busy process', () => {
    for (const strained of [
      { ...IDLE, busy: 1 },
      { ...IDLE, lateMs: 300 },
      { ...IDLE, backlog: 0.5 },
    ])
      assert.ok(after([strained]).cores < MOST_CORES, JSON.stringify(strained));
  });

  it('hardly minds one long delay alone', () => {
    assert.ok(after([{ ...IDLE, lateMs: 200 }]).cores > MOST_CORES * 0.9);
    assert.ok(after(Array.from({ length: 3 }, () => ({ ...IDLE, lateMs: 200 }))).cores < MOST_CORES * 0.6);
  });

  it('does not swing: whatever frames really cost and whatever else is done, it settles', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.2, max: 8, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 5, noNaN: true }),
        loads,
        (realCost, otherWork, demand, before) => {
          const budget = after(before);
          const busy = () => Math.min(1, otherWork + realCost * Math.min(demand, budget.cores));
          // The delay of before is still felt: it may let the budget fall once more, and rise then.
          for (let i = 0; i < 10; i++) budget.read({ ...IDLE, busy: busy() });
          const path: number[] = [];
          for (let i = 0; i < 100; i++) path.push(budget.read({ ...IDLE, busy: busy() }));
          const steps = path.map((cores, i) => Math.sign(cores - (path[i - 1] ?? cores)));
          const turns = steps.filter((step, i) => i > 0 && step !== 0 && step === -(steps[i - 1] ?? 0));
          assert.deepEqual(turns, [], `${path}`);
          assert.equal(path.at(-1), path.at(-2));
        },
      ),
    );
  });

  it('recovers after a burst', () => {
    fc.assert(
      fc.property(loads, (burst) => {
        assert.equal(after([...burst, ...Array.from({ length: 40 }, () => IDLE)]).cores, MOST_CORES);
      }),
    );
  });
});
