import type { AuditEvent } from './cluster/audit.ts';

/**
 * How often the candidate that took a lease had read the free lease without taking it, according to the API server's
 * audit log; 0 if the candidate took the lease at its first read. Each read is a get. A lease is free when the holder
 * has released it, or `duration` after the candidate saw the holder's last renewal, by the candidate's clock.
 * @param events audit events of the lease, in order of their responses
 * @param since the first write after this time took the lease; the holder may have changed before
 * @param duration milliseconds; undefined if the holder released the lease
 */
export function looksInVain(
  events: readonly AuditEvent[],
  holder: string,
  taker: string,
  { since = 0, duration }: { since?: number; duration?: number } = {},
): number {
  const isWrite = ({ verb, code }: AuditEvent) => verb !== 'get' && code < 300;
  const taken = events.find((each) => each.user === taker && isWrite(each) && each.received > since);
  const before = events.filter((each) => taken !== undefined && each.answered <= taken.received);
  const last = before.findLast((each) => each.user === holder && isWrite(each));
  if (!taken || !last) throw new Error('both have written the lease');
  const looks = before.filter(({ user, verb, code }) => user === taker && verb === 'get' && code < 300);
  const saw = looks.find(({ received }) => received > last.answered);
  if (!saw) throw new Error('nobody has looked before it was taken');
  const free = duration === undefined ? last.answered : saw.answered + duration;
  return Math.max(0, looks.filter(({ received }) => received > free).length - 1);
}
