import { type ErrorCode, type IdText, type JoinFrom, leaveFrame, okFrame } from '@pushcluster/protocol/frames.ts';
import { matches } from '@pushcluster/protocol/pattern.ts';
import { policyOf } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { type ChannelKey, roomKey, roomOf } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import type { ResumeAnswer } from '../ipc/resume.ts';
import type { Broadcaster } from './broadcaster.ts';
import type { Channels } from './channels.ts';
import type { Connection, Member } from './connection.ts';
import type { Loop } from './loop.ts';
import { isWaitedFor, PendingJoins } from './pendingJoins.ts';
import type { Replies } from './replies.ts';

/**
 * Rooms that nobody else is in cost a subscription each. One connection may begin so many of them at once (or
 * `rooms.maxPerConnection`, if that is more), and so many a second after that.
 */
const NEW_ROOMS_AT_ONCE = 100;
const NEW_ROOMS_A_SECOND = 10;

const FORBIDDEN_NOW = 'the new token does not allow this room';

export type RoomsOptions = {
  settings: () => Settings;
  loop: Loop;
  channels: Channels;
  broadcaster: Pick<Broadcaster, 'visit' | 'visitSlowly' | 'replayed'>;
  replies: Replies;
  notifyHub: (message: ShardMessage) => void;
};

/** Who is in which room: JOIN and LEAVE of clients, and whom tokens, backends or the bus take out. */
export class Rooms {
  readonly pendingJoins: PendingJoins;
  readonly #options: RoomsOptions;

  constructor(options: RoomsOptions) {
    const { loop, replies, notifyHub, broadcaster } = options;
    this.#options = options;
    this.pendingJoins = new PendingJoins({
      loop,
      replies,
      notifyHub,
      visit: (...visit) => broadcaster.visitSlowly(...visit),
      replayed: (...frame) => broadcaster.replayed(...frame),
      leave: (connection, member, code, message) => this.#leave(connection, member, code, message),
    });
  }

  /** @param since with `last` and `away`: where a room with history is to go on from */
  join(connection: Connection, room: string, id: IdText | undefined, { since, last, away }: JoinFrom = {}): void {
    const { channels, replies, settings } = this.#options;
    if (!connection.authorized) {
      replies.refuse(connection, id, 'unauthorized', 'AUTH is required first');
      return;
    }
    if (!mayJoin(connection, room)) {
      replies.refuse(connection, id, 'room_forbidden', `the token does not allow the room ${JSON.stringify(room)}`);
      return;
    }
    const existing = channels.get(roomKey(room));
    const added = !existing || !connection.memberOf(existing);
    if (added) {
      const over = this.#limitReached(connection, existing === undefined);
      if (over) {
        replies.refuse(connection, id, over.code, over.message);
        return;
      }
      channels.join(connection, existing ?? channels.obtain(roomKey(room)));
    }
    const isResume = since !== undefined || last !== undefined;
    if (id === undefined && !isResume) return;
    const channel = channels.obtain(roomKey(room));
    const member = connection.memberOf(channel);
    if (!member || isJoining(member)) {
      replies.refuse(connection, id, 'unavailable', 'an earlier JOIN of this room has not been answered yet');
      return;
    }
    if (policyOf(room, settings().rooms)?.history === undefined) {
      if (id !== undefined) this.pendingJoins.add(member, id, added);
      return;
    }
    channel.fallBehind(member, 'resuming');
    this.pendingJoins.add(member, id, added, {
      type: 'join',
      ...(since === undefined ? {} : { since }),
      ...(last === undefined ? {} : { last }),
      ...(away === undefined ? {} : { away }),
    });
  }

  leave(connection: Connection, room: string, id: IdText | undefined): void {
    const { channels, replies } = this.#options;
    const channel = channels.get(roomKey(room));
    const member = channel && connection.memberOf(channel);
    if (member) this.#leave(connection, member, 'left', 'the room was left');
    if (id !== undefined) replies.send(connection, okFrame(id, room));
  }

  /** Takes a connection out of the rooms that its new token does not allow. */
  leaveForbidden(connection: Connection): void {
    for (const member of [...connection.members]) {
      const room = roomOf(member.channel.key);
      if (room === undefined || mayJoin(connection, room)) continue;
      this.#takeOut(connection, member, 'room_forbidden', FORBIDDEN_NOW);
    }
  }

  /** Takes out everyone who is in the room now: after what is on its way to them, and before what comes later. */
  disconnect(room: string, reason: string): void {
    const { channels, broadcaster } = this.#options;
    const channel = channels.get(roomKey(room));
    if (!channel) return;
    broadcaster.visit(channel, channel.members, (member) => {
      const { connection } = member;
      // A connection that left and came back since is there as another member.
      if (connection.memberOf(channel) !== member) return;
      this.#takeOut(connection, member, 'left', reason);
    });
  }

  /** The hub's answer to a member that asked for what it missed. */
  resumed(key: ChannelKey, ask: number, answer: ResumeAnswer): void {
    this.pendingJoins.resumed(this.#options.channels.get(key), ask, answer);
  }

  /** The hub has confirmed these forms. @param generation of the `forms` message that it answers */
  subscribed(key: ChannelKey, mask: number, generation: number): void {
    const channel = this.#options.channels.get(key);
    // It answers an earlier message: the hub has yet to read that the forms have changed since.
    if (!channel || channel.generation !== generation) return;
    channel.subscribed = mask & channel.mask;
    this.pendingJoins.answer(channel);
  }

  /**
   * The bus refuses the room's subscription. Members must not believe that they are in the room: v1 clients are taken out,
   * and join again. Clients without a subprotocol understand no such notice.
   */
  subscriptionRefused(key: ChannelKey): void {
    const { channels, broadcaster, replies } = this.#options;
    const channel = channels.get(key);
    const room = roomOf(key);
    if (!channel || room === undefined) return;
    channel.subscribed = 0;
    const reason = 'the bus refuses this room to this gateway';
    broadcaster.visit(channel, channel.members, (member) => {
      const { connection } = member;
      // A connection that left and came back since is there as another member. A JOIN that waits is yet to be answered.
      if (connection.memberOf(channel) !== member || !connection.v1 || isJoining(member)) return;
      this.#leave(connection, member, 'unavailable', reason);
      replies.send(connection, leaveFrame(room, reason, 'unavailable'));
    });
  }

  /** Why the connection may not be in one more room; undefined if it may. @param isNew nobody is in that room */
  #limitReached(connection: Connection, isNew: boolean): { code: ErrorCode; message: string } | undefined {
    const { settings, channels } = this.#options;
    const { maxPerConnection, max } = settings().gateway.rooms;
    const joined = connection.members.length - (connection.user === undefined ? 0 : 1);
    if (joined >= maxPerConnection)
      return { code: 'room_limit', message: `at most ${maxPerConnection} rooms on a connection` };
    if (!isNew) return undefined;
    if (channels.rooms >= max) return { code: 'unavailable', message: `this gateway has ${max} rooms already` };
    if (connection.opensTooMany(NEW_ROOMS_A_SECOND, Math.max(NEW_ROOMS_AT_ONCE, maxPerConnection)))
      return { code: 'unavailable', message: `more than ${NEW_ROOMS_A_SECOND} new rooms a second` };
    return undefined;
  }

  /** Ends the membership of a connection that stays. Its JOIN that waits there is answered with `code`. */
  #leave(connection: Connection, member: Member, code: ErrorCode, message: string) {
    const { channels, replies } = this.#options;
    const join = member.channel.pendingJoins?.get(member);
    channels.leave(member);
    if (join && isWaitedFor(join)) replies.refuse(connection, join.id, code, message);
  }

  /**
   * Takes a connection that stays out of a room for good. The client is notified once: after a second notice it could take a
   * room for left that it has joined again after the first.
   */
  #takeOut(connection: Connection, member: Member, code: ErrorCode, reason: string) {
    const room = roomOf(member.channel.key);
    const isRefused = isJoining(member);
    this.#leave(connection, member, code, reason);
    if (connection.v1 && !isRefused && room !== undefined)
      this.#options.replies.send(connection, leaveFrame(room, reason));
  }
}

/** Its JOIN is yet to be answered. */
function isJoining(member: Member): boolean {
  const join = member.channel.pendingJoins?.get(member);
  return join !== undefined && isWaitedFor(join);
}

function mayJoin(connection: Connection, room: string): boolean {
  return connection.patterns === undefined || connection.patterns.some((pattern) => matches(pattern, room));
}
