import type { Question } from '@pushcluster/protocol/control.ts';
import { type LagReason, laggedFrame } from '@pushcluster/protocol/frames.ts';
import { formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type ChannelKey, roomKey, roomOf, userKey } from '../ipc/channelKey.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { FrameMessage } from '../ipc/frame.ts';
import { type HubMessage, missedSize, type ShardAnswer } from '../ipc/messages.ts';
import type { Broadcaster } from './broadcaster.ts';
import type { Channels } from './channels.ts';
import type { FrameBytes, SendTask } from './channelTask.ts';
import type { Member } from './connection.ts';
import type { Connections } from './connections.ts';
import type { HubCredit } from './hubCredit.ts';
import type { MovingConnections } from './movingConnections.ts';
import type { Rooms } from './rooms.ts';
import type { UserConnections } from './userConnections.ts';

export type HubMessagesOptions = {
  counts: Pick<ShardCounts, 'dropped'>;
  channels: Channels;
  broadcaster: Broadcaster;
  connections: Pick<Connections, 'lastId'>;
  credit: Pick<HubCredit, 'done'>;
  rooms: Rooms;
  userConnections: UserConnections;
  moving: MovingConnections;
};

/** What the hub sends: batches for channels, and messages about connections and channels. */
export class HubMessages {
  readonly #options: HubMessagesOptions;

  constructor(options: HubMessagesOptions) {
    this.#options = options;
  }

  /** Does what a message says; false if it is about the shard's process. */
  handle(message: HubMessage): boolean {
    const { rooms, userConnections, moving, connections } = this.#options;
    switch (message.type) {
      case 'subscribed':
        rooms.subscribed(message.key, message.mask, message.generation);
        return true;
      case 'subscriptionRefused':
        rooms.subscriptionRefused(message.key);
        return true;
      case 'resumed':
        rooms.resumed(message.key, message.ask, message.answer);
        this.#options.credit.done(message.size);
        return true;
      case 'bus':
        rooms.pendingJoins.busChanged(message.connected);
        return true;
      case 'verified':
        rooms.pendingJoins.verified(message.receipt);
        return true;
      case 'missed':
        this.#missed(message.key, message.items, message.reason);
        return true;
      case 'disconnectUser':
        userConnections.disconnect(message.user, message.reason);
        return true;
      case 'disconnectRoom':
        rooms.disconnect(message.room, message.reason);
        return true;
      case 'replaced':
        userConnections.replace(message.user, message.upTo);
        return true;
      case 'move':
        moving.ask(message.count, message.time, message.reason);
        return true;
      case 'mark':
        moving.mark(message.on ? connections.lastId : undefined);
        return true;
      case 'moveOldest':
        moving.askOldest(message.count, message.time, message.others);
        return true;
      default:
        return false;
    }
  }

  /** Broadcasts a batch. */
  frame({ key, items, frames, ages, place, size }: FrameMessage): void {
    const { channels, broadcaster, credit } = this.#options;
    const channel = channels.get(key);
    if (!channel) {
      credit.done(size);
      return;
    }
    const byForm: (FrameBytes | undefined)[] = WIRE_FORMS.map(() => undefined);
    for (const frame of frames) byForm[formIndex(frame.form)] = frame;
    broadcaster.push(channel, { type: 'send', items, frames: byForm, ages, place, size });
  }

  /** Answers a question about this shard; undefined if the hub answers it. */
  answer(question: Question): ShardAnswer | undefined {
    const { channels } = this.#options;
    const { ask } = question;
    switch (question.type) {
      case 'rooms':
        return { type: 'rooms', ask, rooms: channels.fullestRooms(question.limit) };
      case 'room':
        return { type: 'room', ask, connections: channels.get(roomKey(question.room))?.size ?? 0 };
      case 'user':
        return { type: 'user', ask, connections: channels.get(userKey(question.user))?.size ?? 0 };
      case 'stats':
        return undefined;
    }
  }

  /**
   * Items that will not come: counted for everyone, and reported to v1 clients in order with the frames. If a history has
   * them, members are sent them from there.
   */
  #missed(key: ChannelKey, items: number, reason: LagReason) {
    const { counts, channels, broadcaster, credit, rooms } = this.#options;
    const channel = channels.get(key);
    const size = missedSize(key);
    if (!channel) {
      credit.done(size);
      return;
    }
    const frame: FrameBytes = { bytes: Buffer.from(laggedFrame(roomOf(key), items, reason)), binary: false };
    const frames = WIRE_FORMS.map(({ understandsControl }) => (understandsControl ? frame : undefined));
    const news: SendTask = { type: 'send', items, frames, ages: [], missed: reason, size };
    if (reason === 'overload' && channel.hasPlace) {
      news.frames = [];
      const toMember = (member: Member) => {
        // The room may have lost its history meanwhile.
        if (channel.place === undefined) news.frames = frames;
        // It may have left meanwhile.
        else if (member.connection.memberOf(channel) === member) rooms.pendingJoins.leftOut(member, channel.place);
      };
      broadcaster.visit(channel, channel.members, toMember, () => {
        if (news.frames === frames) counts.dropped[reason] += items * channel.size;
      });
    } else counts.dropped[reason] += items * channel.size;
    broadcaster.push(channel, news);
  }
}
