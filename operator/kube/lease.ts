import { z } from 'zod';
import { KINDS, type KubeObject, Metadata } from './objects.ts';

/** Of client-go: others wait this long for a silent leader, which gives up earlier, having tried now and then. */
export type LeaseTimes = {
  /** Milliseconds that others wait after they last saw a renewal. */
  duration: number;
  /** Milliseconds after its last renewal that a leader may still write. Less than `duration`: clocks needn't agree. */
  renewDeadline: number;
  /** Milliseconds between two tries, of a leader and of those who want to be. */
  retryPeriod: number;
};
export const LEASE_TIMES: LeaseTimes = { duration: 15_000, renewDeadline: 10_000, retryPeriod: 2_000 };

/** A time as Leases and Events have it: with microseconds. */
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

/** When a lease was seen to have changed, by the watcher's own clock: whoever renews it may have another time of day. */
export type Sighting = { record: string; at: number };

/** What is seen of a lease now, given what was seen before. */
export function sighted(lease: Lease, before: Sighting | undefined, now: number): Sighting {
  const { holderIdentity, renewTime, leaseTransitions } = lease.spec;
  const record = JSON.stringify([holderIdentity, renewTime, leaseTransitions, lease.metadata.uid]);
  return before?.record === record ? before : { record, at: now };
}

/** Whether a lease may be taken: nobody holds it, or whoever does was silent for the lease's own duration. */
export function isFree(lease: Lease, sighting: Sighting, now: number): boolean {
  if (lease.spec.holderIdentity === '') return true;
  return now - sighting.at > lease.spec.leaseDurationSeconds * 1_000;
}

/** Until when a leader may write that sent its last successful renewal at `sentAt`. */
export function leadsUntil(sentAt: number, times: LeaseTimes): number {
  return sentAt + times.renewDeadline;
}

type Naming = { name: string; namespace: string; identity: string };

/** A lease that nobody has made yet. */
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

/** The lease in the hands of `identity`: taken over where it was another's, else renewed. */
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

/** The lease in nobody's hands: whoever asks next takes it. */
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
