import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Target } from '@pushcluster/protocol/api.ts';
import fc from 'fast-check';
import { idempotencyKey } from './idempotencyKey.ts';

/** Names made of what might separate them, so that a careless join would mix them up. */
const name = fc.string({
  unit: fc.constantFrom('a', 'b', '/', ',', '"', '\\', '\n', '\u0000', '[', ']', ' '),
  minLength: 1,
  maxLength: 4,
});
const names = fc.array(name, { minLength: 1, maxLength: 3 });
const target: fc.Arbitrary<Target> = fc.oneof(
  fc.constant<Target>({ type: 'all' }),
  name.map((room): Target => ({ type: 'room', room })),
  name.map((user): Target => ({ type: 'user', user })),
  names.map((rooms): Target => ({ type: 'rooms', rooms })),
  names.map((users): Target => ({ type: 'users', users })),
);
const request = fc.record({ key: fc.option(name, { nil: undefined }), target, id: name });

/** What makes a request, as this test sees it. */
function identity({ key, target, id }: { key: string | undefined; target: Target; id: string }): unknown {
  const set = (list: readonly string[]) => [...new Set(list)].sort();
  const whom =
    target.type === 'rooms' ? set(target.rooms) : target.type === 'users' ? set(target.users) : { ...target };
  return { key, type: target.type, whom, id };
}

const equal = (a: unknown, b: unknown) => {
  try {
    assert.deepStrictEqual(a, b);
    return true;
  } catch {
    return false;
  }
};

describe('the id of a request', () => {
  it('is the same for two requests just where key, targets and id are', () => {
    fc.assert(
      fc.property(request, request, (a, b) => {
        const same = idempotencyKey(a.key, a.target, a.id) === idempotencyKey(b.key, b.target, b.id);
        assert.equal(same, equal(identity(a), identity(b)));
      }),
      { numRuns: 5_000 },
    );
  });

  it('does not mind the order of names, nor one named twice', () => {
    const first = idempotencyKey('k', { type: 'users', users: ['a', 'b', 'b'] }, 'id');
    assert.equal(idempotencyKey('k', { type: 'users', users: ['b', 'a'] }, 'id'), first);
    assert.match(first, /^[A-Za-z0-9_-]{22}$/);
  });

  it('of two users is two, of a key without a name and of one called null as well', () => {
    const of = (key: string | undefined, user: string) => idempotencyKey(key, { type: 'user', user }, 'same');
    assert.equal(new Set([of('k', 'a'), of('k', 'b'), of('null', 'a'), of(undefined, 'a')]).size, 4);
  });

  it('is none where the request has none', () => {
    assert.equal(idempotencyKey('k', { type: 'all' }, ''), '');
  });
});
