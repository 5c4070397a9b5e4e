import type { RoomCount } from '@pushcluster/protocol/control.ts';
import { audienceToTell } from '../ipc/audience.ts';
import { ALL, type ChannelKey, roomOf } from '../ipc/channelKey.ts';
import { FullestRooms, jsonWithin, MAX_LIST_BYTES } from '../ipc/fullestRooms.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import { Channel } from './channel.ts';
import { type Connection, Member } from './connection.ts';

/**
 * The channels of a shard and who is a member of which. Whenever the wire forms of a channel's members change, the hub is
 * notified, which subscribes and encodes by that.
 */
export class Channels {
  /** The channel of all authorized connections, which is always there. */
  readonly all = new Channel<Member>(ALL);
  readonly #byKey = new Map<ChannelKey, Channel<Member>>([[ALL, this.all]]);
  readonly #notifyHub: (message: ShardMessage) => void;
  #rooms = 0;
  #lastGeneration = 0;

  constructor(notifyHub: (message: ShardMessage) => void) {
    this.#notifyHub = notifyHub;
  }

  get rooms(): number {
    return this.#rooms;
  }

  get(key: ChannelKey): Channel<Member> | undefined {
    return this.#byKey.get(key);
  }

  /** The channel of this key, which is made if there is none. */
  obtain(key: ChannelKey): Channel<Member> {
    let channel = this.#byKey.get(key);
    if (!channel) {
      channel = new Channel<Member>(key);
      this.#byKey.set(key, channel);
      if (roomOf(key) !== undefined) this.#rooms++;
    }
    return channel;
  }

  /** Makes the connection a member of a room or user. It must not be one yet. */
  join(connection: Connection, channel: Channel<Member>): void {
    const member = new Member(channel);
    member.connection = connection;
    if (connection.members.length === 0) connection.members = [member];
    else connection.members.push(member);
    this.add(member);
  }

  /** Ends the membership of a connection that stays. */
  leave(member: Member): void {
    const { members } = member.connection;
    members.splice(members.indexOf(member), 1);
    this.remove(member);
  }

  /** Adds a membership to its channel. A connection that lags is behind in this channel, too. */
  add(member: Member): void {
    const { channel, connection } = member;
    const before = channel.mask;
    channel.group(connection.form).add(member);
    if (connection.lagging) channel.fallBehind(member, 'slow');
    if (channel.mask !== before) this.#reportForms(channel);
    this.#reportAudience(channel);
  }

  /** Takes a membership out of its channel, and its JOIN with it if that waits. */
  remove(member: Member): void {
    const { channel, connection } = member;
    channel.group(connection.form).remove(member);
    channel.pendingJoins?.delete(member);
    this.#reportAudience(channel);
    if (channel.group(connection.form).members.length > 0) return;
    channel.subscribed &= channel.mask;
    this.#reportForms(channel);
    this.forgetIfEmpty(channel);
  }

  /** Forgets a channel without members, unless tasks are still on their way. */
  forgetIfEmpty(channel: Channel<Member>): void {
    if (channel === this.all || channel.mask !== 0 || channel.active || channel.waiting > 0) return;
    if (this.#byKey.delete(channel.key) && roomOf(channel.key) !== undefined) this.#rooms--;
  }

  /** The rooms with the most connections, at most `limit` and MAX_LIST_BYTES of JSON. */
  fullestRooms(limit: number): RoomCount[] {
    const fullest = new FullestRooms(limit);
    for (const channel of this.#byKey.values()) {
      const { key, size } = channel;
      // Only the few that count need their name.
      if (size >= fullest.least && key[0] === 'r') fullest.add(key.slice(1), size);
    }
    const { list } = fullest;
    return list.slice(0, jsonWithin(list, MAX_LIST_BYTES).length);
  }

  #reportAudience(channel: Channel<Member>) {
    const { key, size, audience } = channel;
    const members = audienceToTell(size, audience);
    if (members === undefined) return;
    channel.audience = members;
    this.#notifyHub({ type: 'audience', key, members });
  }

  #reportForms(channel: Channel<Member>) {
    channel.generation = ++this.#lastGeneration;
    this.#notifyHub({ type: 'forms', key: channel.key, mask: channel.mask, generation: channel.generation });
  }
}
