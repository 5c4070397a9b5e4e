import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { held, isFree, LEASE_TIMES, leadsUntil, leaseOf, microTime, newLease, released, sighted } from './lease.ts';

const naming = { name: 'operator', namespace: 'default', identity: 'a' };
const first = () => leaseOf(newLease(naming, LEASE_TIMES, 0));

describe('a lease', () => {
  it('has times with microseconds, as the API wants them', () => {
    assert.equal(microTime(Date.UTC(2026, 0, 2, 3, 4, 5, 67)), '2026-01-02T03:04:05.067000Z');
  });

  it('is free when it was given back, and else only when it was seen unchanged for its own duration', () => {
    const lease = first();
    const sighting = sighted(lease, undefined, 100);
    assert.equal(isFree(lease, sighting, 100 + 15_000), false);
    assert.equal(isFree(lease, sighting, 100 + 15_001), true);
    const back = leaseOf(released(lease, 5));
    assert.equal(isFree(back, sighted(back, sighting, 100), 100), true);
  });

  it('counts its time by the clock of whoever watches, whatever time of day its holder has', () => {
    const wayAhead = leaseOf(held(first(), 'a', LEASE_TIMES, Date.UTC(2099, 0)));
    const sighting = sighted(wayAhead, undefined, 0);
    assert.equal(isFree(wayAhead, sighting, 15_001), true);
  });

  it('begins anew with each renewal that is seen', () => {
    const lease = first();
    const before = sighted(lease, undefined, 0);
    assert.equal(sighted(lease, before, 9_000), before);
    const renewed = leaseOf(held(lease, 'a', LEASE_TIMES, 2_000));
    assert.equal(sighted(renewed, before, 9_000).at, 9_000);
  });

  it('counts who took it over, and not who renewed it', () => {
    const renewed = leaseOf(held(first(), 'a', LEASE_TIMES, 1_000));
    assert.equal(renewed.spec.leaseTransitions, 0);
    assert.equal(renewed.spec.acquireTime, microTime(0));
    const taken = leaseOf(held(renewed, 'b', LEASE_TIMES, 2_000));
    assert.equal(taken.spec.leaseTransitions, 1);
    assert.equal(taken.spec.acquireTime, microTime(2_000));
  });

  it('is never taken while its holder may still write, however late answers come', () => {
    const delay = fc.integer({ min: 0, max: 60_000 });
    fc.assert(
      fc.property(delay, delay, (arrives, seenAfter) => {
        // The holder sends its renewal at 0, the server has it `arrives` later, another sees it `seenAfter` after that.
        const lease = first();
        const sighting = sighted(lease, undefined, arrives + seenAfter);
        const until = leadsUntil(0, LEASE_TIMES);
        assert.equal(isFree(lease, sighting, until), false);
      }),
    );
  });
});
