import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RecentPushIds } from './recentPushIds.ts';

const TWO_MINUTES = 120_000;

describe('recent ids', () => {
  it('are known for two minutes from when they were first seen', () => {
    const recent = new RecentPushIds();
    assert.equal(recent.seen('a', 0), false);
    assert.equal(recent.seen('a', 1), true);
    assert.equal(recent.seen('a', TWO_MINUTES - 1), true);
    assert.equal(recent.seen('a', TWO_MINUTES), false);
    assert.equal(recent.seen('a', TWO_MINUTES + 1), true);
    assert.equal(recent.forgotten, 0);
  });

  it('are bounded: beyond the limit the oldest is forgotten early, and counted', () => {
    const recent = new RecentPushIds(3);
    for (const key of ['a', 'b', 'c', 'd']) assert.equal(recent.seen(key, 0), false);
    assert.equal(recent.forgotten, 1);
    assert.equal(recent.seen('b', 1), true);
    assert.equal(recent.seen('a', 1), false);
    assert.equal(recent.forgotten, 2);
  });

  it('of any length are told apart, and a long one is kept as a short one', () => {
    const recent = new RecentPushIds();
    const long = 'x'.repeat(130_000);
    assert.equal(recent.seen(`${long}a`, 0), false);
    assert.equal(recent.seen(`${long}b`, 0), false);
    assert.equal(recent.seen(`${long}a`, 1), true);
    assert.ok(recent.characters < 200, `${recent.characters} characters are kept`);
  });

  it('that ran out make room and are not counted as forgotten', () => {
    const recent = new RecentPushIds(3);
    for (const key of ['a', 'b', 'c']) recent.seen(key, 0);
    for (const key of ['d', 'e', 'f']) assert.equal(recent.seen(key, TWO_MINUTES), false);
    assert.equal(recent.forgotten, 0);
  });
});
