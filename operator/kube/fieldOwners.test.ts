import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ManagedFields, ownersOf, withOwnersOf } from './fieldOwners.ts';

const path = ['spec', 'gateway', 'replicas'];
const owner = { manager: 'a', subresource: 'scale', fieldsV1: { 'f:spec': { 'f:gateway': { 'f:replicas': {} } } } };
const beside = { manager: 'b', fieldsV1: { 'f:spec': { 'f:gateway': { '.': {}, 'f:shards': {} } } } };

describe('owners of a field', () => {
  it('are those whose managedFields contain it, and no others', () => {
    assert.deepEqual(ownersOf([owner, beside, { manager: 'c' }], path), [owner]);
  });

  it('are kept of an object, and its other managedFields are not', () => {
    const object = { kind: 'X', metadata: { name: 'x', managedFields: [{ ...owner, time: 'now' }, beside] } };
    assert.deepEqual(withOwnersOf(object, path), { kind: 'X', metadata: { name: 'x', managedFields: [owner] } });
    assert.deepEqual(withOwnersOf({ metadata: { name: 'y' } }, path).metadata, { name: 'y', managedFields: [] });
  });

  it('are none in managedFields of an unknown form', () => {
    assert.deepEqual(ManagedFields.parse([{ manager: 7 }]), []);
  });
});
