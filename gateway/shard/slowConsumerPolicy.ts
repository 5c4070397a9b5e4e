import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { laggedFrame } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { roomOf } from '../ipc/channelKey.ts';
import type { Connection, Member } from './connection.ts';

export type SlowConsumerPolicyOptions = {
  policy: () => Settings['gateway']['slowConsumer']['policy'];
  /** Ends a connection in the loop's next turn. */
  endSoon: (connection: Connection, code: CloseCode, reason: string) => void;
};

/** By `gateway.slowConsumer.policy`, closes a connection that reads too slowly, or leaves it behind until it has read. */
export class SlowConsumerPolicy {
  readonly #options: SlowConsumerPolicyOptions;

  constructor(options: SlowConsumerPolicyOptions) {
    this.#options = options;
  }

  /** A frame was dropped, since the socket's buffer is over its limit. The caller has marked the connection as slow (fallBehind). */
  dropped(connection: Connection): void {
    if (this.#options.policy() !== 'close') return;
    this.#options.endSoon(connection, CloseCode.slowConsumer, 'reads too slowly');
  }
}

/** The first drop: from here on the connection is skipped, in all its channels, with its position in each of them kept. */
export function fallBehind(connection: Connection): void {
  if (connection.lagging) return;
  connection.channel.fallBehind(connection, 'slow');
  for (const member of connection.members)
    if (member.behind?.reason !== 'resuming') member.channel.fallBehind(member, 'slow');
}

/**
 * The buffer has drained: sends LAGGED with exactly what was missed in each channel, and the connection takes part again. Rooms
 * whose history has it are left to PendingJoins.
 * If the buffer fills up meanwhile, the connection stays behind and the rest is reported the next time.
 */
export function catchUp(connection: Connection): void {
  if (!connection.lagging) return;
  const memberships = [connection, ...connection.members].filter(
    ({ behind }) => behind?.reason === 'slow' && !behind.place,
  );
  for (const member of memberships) if (!sendMissed(member)) return;
  for (const member of memberships) member.channel.catchUp(member);
}

/** Sends how many items a membership missed up to now; false if even that was dropped. */
export function sendMissed(member: Member): boolean {
  const { behind, channel, connection } = member;
  if (!behind) return true;
  const position = channel.positionOf(member);
  const missed = position - behind.since;
  const lagged = () => laggedFrame(roomOf(channel.key), missed, 'slow');
  if (missed > 0 && connection.v1 && !connection.send(lagged())) return false;
  behind.since = position;
  return true;
}
