import assert from 'node:assert/strict';
import { it } from 'node:test';
import { moveTime } from './moveTime.ts';

it('a client gets time for the longest window of any room, and 8 s at least', () => {
  assert.deepEqual(moveTime(0), { withinMs: 8_000, overlapMs: 1_000 });
  assert.deepEqual(moveTime(1_000), { withinMs: 8_000, overlapMs: 2_000 });
  assert.deepEqual(moveTime(10_000), { withinMs: 30_000, overlapMs: 11_000 });
});
