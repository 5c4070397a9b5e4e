import type { AuditEvent } from './cluster/audit.ts';

/**
 * How often who took a lease had looked at it in vain since it was free, as the API server's log tells: 0 where the first look
 * found it free. Each look is a get; the lease is free once it was given back, or `duration` after the looker has seen the
 * holder's last renewal, by its own clock.
 * @param events of the lease, in the order of their answers
 * @param since it was taken by the first write after that: the two may have changed before
 * @param duration milliseconds; undefined where the holder gave it back
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
