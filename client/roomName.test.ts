import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameProblem } from '@pushcluster/protocol/names.ts';
import fc from 'fast-check';
import { isRoomName } from './roomName.ts';

test('a name is good where the protocol says so', () => {
  const unit = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 1 }),
    fc.constantFrom('%', '%41', '\ud83c', '\udf88', 'é'),
  );
  const odd = fc.array(unit, { maxLength: 140 }).map((units) => units.join(''));
  fc.assert(
    fc.property(fc.oneof(odd, fc.string({ minLength: 120, maxLength: 136 })), (name) => {
      assert.equal(isRoomName(name), nameProblem(name) === undefined);
    }),
    { numRuns: 300 },
  );
  for (const [name, is] of [
    ['', false],
    ['é'.repeat(64), true],
    [`${'é'.repeat(64)}x`, false],
    ['\ud83c', false],
  ] as const)
    assert.equal(isRoomName(name), is, name);
});
