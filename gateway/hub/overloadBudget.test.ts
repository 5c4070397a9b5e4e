import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OverloadBudget } from './overloadBudget.ts';

describe('an overload budget', () => {
  it('is maxRate in a span of a second, and begins anew with the next span', () => {
    const budget = new OverloadBudget();
    budget.enter(0, { maxRate: 20 }, 100, 0);
    assert.equal(budget.left, 20);
    budget.spend(15);
    budget.enter(999, { maxRate: 20 }, 100, 0);
    assert.equal(budget.left, 5);
    assert.equal(budget.spanEnd, 1_000);
    budget.enter(1_000, { maxRate: 20 }, 100, 0);
    assert.equal(budget.left, 20);
  });

  it('is counted over maxDelay if that is longer than a second, and is one item at least', () => {
    const budget = new OverloadBudget();
    budget.enter(0, { maxRate: 20 }, 5_000, 0);
    assert.equal(budget.left, 100);
    budget.enter(0, { maxRate: 0.1 }, 1_000, 0);
    assert.equal(budget.left, 1);
  });

  it('does not charge a span for items that the one before let in', () => {
    const budget = new OverloadBudget();
    budget.enter(0, { maxRate: 10 }, 0, 0);
    budget.enter(1_000, { maxRate: 10 }, 0, 7);
    budget.spend(7);
    assert.equal(budget.left, 10);
  });

  it('is strained while items are cut, and one span longer', () => {
    const budget = new OverloadBudget();
    const rate = { maxRate: 10 };
    budget.enter(0, rate, 0, 0);
    assert.equal(budget.strained, false);
    budget.strain();
    assert.equal(budget.strained, true);
    budget.enter(1_000, rate, 0, 0);
    assert.equal(budget.strained, true);
    budget.enter(2_000, rate, 0, 0);
    assert.equal(budget.strained, false);
    budget.strain();
    budget.enter(60_000, rate, 0, 0);
    assert.equal(budget.strained, false);
  });

  it('counts the items seen since the last batch', () => {
    const budget = new OverloadBudget();
    budget.see(3);
    budget.see(1);
    assert.equal(budget.seen, 4);
    budget.spend(2);
    assert.equal(budget.seen, 0);
  });
});
