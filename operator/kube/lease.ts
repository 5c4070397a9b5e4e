import { z } from 'zod';
import { KINDS, type KubeObject, Metadata } from './objects.ts';

/** Times of the leader election, with the defaults of client-go. */
export type LeaseTimes = {
  /** Milliseconds after the last observed renewal before another process may acquire the lease. */
  duration: number;
  /** Milliseconds after its last renewal in which a leader may write. Less than `duration`, since clocks drift. */
  renewDeadline: number;
  /** Milliseconds between two attempts to acquire or renew. */
  retryPeriod: number;
};
export const LEASE_TIMES: LeaseTimes = { duration: 15_000, renewDeadline: 10_000, retryPeriod: 2_000 };

/** A MicroTime, as Leases and Events have it. @param wall milliseconds since 1970 */
export function microTime(wall: number): string {
  return new Date(wall).toISOString().replace('Z', '000Z');
}

const Spec = z.looseObject({
  holderIdentity: z.string().default(''),
  leaseDurationSeconds: z.number().default(LEASE_TIMES.duration / 1_000),
  acquireTime: z.string().nullish(),
  renewTime: z.string().nullish(),
  leaseTransitions: z.number().default(0),
});
const LeaseObject = z.looseObject({ metadata: Metadata, spec: Spec.prefault({}) });
export type Lease = z.infer<typeof LeaseObject>;

export function leaseOf(object: KubeObject): Lease {
  return LeaseObject.parse(object);
}

/**
 * When a change of a lease was observed, by the observer's monotonic clock: times in the lease are of another machine.
 */
export type Sighting = { record: string; at: number };

/** The current observation of a lease, given the previous one. */
export function sighted(lease: Lease, before: Sighting | undefined, now: number): Sighting {
  const { holderIdentity, renewTime, leaseTransitions } = lease.spec;
  const record = JSON.stringify([holderIdentity, renewTime, leaseTransitions, lease.metadata.uid]);
  return before?.record === record ? before : { record, at: now };
}

/** Whether a lease may be acquired: it has no holder, or was not renewed for its duration. */
export function isFree(lease: Lease, sighting: Sighting, now: number): boolean {
  if (lease.spec.holderIdentity === '') return true;
  return now - sighting.at > lease.spec.leaseDurationSeconds * 1_000;
}

/** A lease that was released is taken within this time, milliseconds, if somebody waits for it. */
const TAKEN_MS = 5_000;
/** A lease that was not renewed for this long, by any clock, is nobody's. Milliseconds. */
const ABANDONED_MS = 600_000;

/**
 * Whether nobody uses a lease any more, who might otherwise lead under its name: it has not changed for long enough.
 * @param wall milliseconds since 1970
 */
export function isUnused(lease: Lease, sighting: Sighting, now: number, wall: number): boolean {
  const renewed = Date.parse(lease.spec.renewTime ?? '');
  if (Math.abs(wall - renewed) > ABANDONED_MS) return true;
  const duration = lease.spec.holderIdentity === '' ? TAKEN_MS : lease.spec.leaseDurationSeconds * 1_000;
  return now - sighting.at > duration;
}

/** Until when a leader may write. @param sentAt when it sent its last successful renewal */
export function leadsUntil(sentAt: number, times: LeaseTimes): number {
  return sentAt + times.renewDeadline;
}

type Naming = { name: string; namespace: string; identity: string };

/** A new lease. */
export function newLease({ name, namespace, identity }: Naming, times: LeaseTimes, wall: number) {
  const time = microTime(wall);
  return {
    ...kindOfLease,
    metadata: { name, namespace },
    spec: {
      holderIdentity: identity,
      leaseDurationSeconds: seconds(times.duration),
      acquireTime: time,
      renewTime: time,
      leaseTransitions: 0,
    },
  };
}

/** The lease held by `identity`: renewed, or taken over from another holder. */
export function held(lease: Lease, identity: string, times: LeaseTimes, wall: number) {
  const time = microTime(wall);
  const isNew = lease.spec.holderIdentity !== identity;
  return {
    ...lease,
    ...kindOfLease,
    spec: {
      ...lease.spec,
      holderIdentity: identity,
      leaseDurationSeconds: seconds(times.duration),
      acquireTime: isNew ? time : lease.spec.acquireTime,
      renewTime: time,
      leaseTransitions: lease.spec.leaseTransitions + (isNew ? 1 : 0),
    },
  };
}

/** The lease without a holder: the next process acquires it immediately. */
export function released(lease: Lease, wall: number) {
  return {
    ...lease,
    ...kindOfLease,
    spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(wall) },
  };
}

const kindOfLease = { apiVersion: KINDS.leases.apiVersion, kind: KINDS.leases.kind };

function seconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000));
}
