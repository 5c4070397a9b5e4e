import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Batch } from './batch.ts';
import { LossNotices, NOTICE_INTERVAL_MS } from './lossNotices.ts';

function taken(notices: LossNotices, now: number, withItems: boolean): Pick<Batch, 'cut' | 'lost'> {
  const batch: Batch = { parts: [], items: 0, cut: 0, lost: { before: 0, after: 0 }, waited: 0 };
  notices.moveTo(batch, now, withItems);
  return { cut: batch.cut, lost: batch.lost };
}

const NOTHING = { cut: 0, lost: { before: 0, after: 0 } };

describe('notices of losses', () => {
  it('are due at once for what was lost, and once an interval at most', () => {
    const notices = new LossNotices();
    assert.equal(notices.due, Number.POSITIVE_INFINITY);
    notices.lose(3, false);
    assert.ok(notices.waiting);
    assert.deepEqual(taken(notices, 0, false), { cut: 0, lost: { before: 3, after: 0 } });
    notices.lose(2, false);
    assert.equal(notices.due, NOTICE_INTERVAL_MS);
    assert.deepEqual(taken(notices, NOTICE_INTERVAL_MS - 1, false), NOTHING);
    assert.deepEqual(taken(notices, NOTICE_INTERVAL_MS, false), { cut: 0, lost: { before: 2, after: 0 } });
    assert.ok(!notices.waiting);
  });

  it('are in their place: what was lost after pending items is told behind them, or before the next ones', () => {
    const notices = new LossNotices();
    notices.lose(3, true);
    assert.ok(!notices.waiting, 'the batch of the items tells it');
    assert.deepEqual(taken(notices, 0, true), { cut: 0, lost: { before: 0, after: 3 } });
    notices.lose(2, true);
    assert.deepEqual(taken(notices, 10, true), NOTHING, 'too soon after the last');
    assert.ok(notices.waiting);
    assert.deepEqual(taken(notices, NOTICE_INTERVAL_MS, true), { cut: 0, lost: { before: 2, after: 0 } });
  });

  it('of items that were cut wait until they are due, and are told apart from those of items that were lost', () => {
    const notices = new LossNotices();
    notices.cut(0, 5);
    assert.ok(!notices.waiting);
    notices.cut(4, 700);
    notices.cut(1, 900);
    assert.equal(notices.due, 700);
    assert.deepEqual(taken(notices, 699, true), NOTHING);
    assert.deepEqual(taken(notices, 700, true), { cut: 5, lost: { before: 0, after: 0 } });
    notices.cut(1, 800);
    assert.equal(notices.due, 700 + NOTICE_INTERVAL_MS);
  });
});
