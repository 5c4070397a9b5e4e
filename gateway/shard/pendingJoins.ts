import { type ErrorCode, type IdText, okFrame } from '@pushcluster/protocol/frames.ts';
import { roomOf } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import type { Channel } from './channel.ts';
import type { Connection, Member } from './connection.ts';
import type { Loop } from './loop.ts';
import type { Replies } from './replies.ts';

/** A JOIN that is not in force after so long is refused, milliseconds: the client tries again, here or elsewhere. */
const JOIN_TIMEOUT_MS = 3_000;

export type PendingJoinsOptions = {
  loop: Loop;
  replies: Replies;
  notifyHub: (message: ShardMessage) => void;
  /** Ends the membership that a refused JOIN has begun. */
  leave: (connection: Connection, member: Member, code: ErrorCode, message: string) => void;
};

/**
 * JOINs that wait for their answer. OK means that what is pushed from then on arrives. For that three things are needed: the
 * hub has confirmed the channel in the connection's form, the bus is there, and it was there after the JOIN. The last is
 * what a receipt says, which the hub gets from the bus. One receipt serves all JOINs of a turn of the loop.
 */
export class PendingJoins {
  readonly #options: PendingJoinsOptions;
  /** Channels with a JOIN to be answered. */
  readonly #channels = new Set<Channel<Member>>();
  #busConnected = true;
  /** Receipts that were asked for, and the last that came. */
  #receiptsAsked = 0;
  #receipt = 0;
  #askingReceipt = false;

  constructor(options: PendingJoinsOptions) {
    this.#options = options;
  }

  /** @param added this JOIN made the connection a member */
  add(member: Member, id: IdText, added: boolean): void {
    const { channel } = member;
    channel.pendingJoins ??= new Map();
    channel.pendingJoins.set(member, { id, added, receipt: this.#askReceipt(), since: this.#options.loop.now() });
    this.#channels.add(channel);
  }

  /** Answers the JOINs of a channel that are in force. */
  answer(channel: Channel<Member>): void {
    for (const [member, join] of channel.pendingJoins ?? []) {
      if (!this.#busConnected || join.receipt > this.#receipt) continue;
      if ((member.connection.form & channel.subscribed) === 0) continue;
      channel.pendingJoins?.delete(member);
      this.#options.replies.send(member.connection, okFrame(join.id, roomOf(channel.key)));
    }
    if (channel.pendingJoins?.size) return;
    channel.pendingJoins = undefined;
    this.#channels.delete(channel);
  }

  /** The bus was there when the `verify` with this receipt had come to the hub. */
  verified(receipt: number): void {
    this.#receipt = Math.max(this.#receipt, receipt);
    for (const channel of this.#channels) this.answer(channel);
  }

  /** The bus has gone away, or has come back. */
  busChanged(connected: boolean): void {
    this.#busConnected = connected;
    if (!connected || this.#channels.size === 0) return;
    // A receipt that was asked of the former connection may never come.
    const receipt = this.#askReceipt();
    for (const channel of this.#channels)
      for (const join of channel.pendingJoins?.values() ?? []) join.receipt = receipt;
  }

  /** Refuses the JOINs that have waited too long. */
  refuseOverdue(): void {
    const { loop, replies, leave } = this.#options;
    const before = loop.now() - JOIN_TIMEOUT_MS;
    for (const channel of this.#channels) {
      for (const [member, join] of channel.pendingJoins ?? []) {
        if (join.since > before) continue;
        channel.pendingJoins?.delete(member);
        if (join.added) leave(member.connection, member, 'unavailable', '');
        replies.refuse(
          member.connection,
          join.id,
          'unavailable',
          "the bus cannot deliver the room's items at the moment",
        );
      }
      this.answer(channel);
    }
  }

  /** The receipt that will say that the bus was there after this moment. */
  #askReceipt(): number {
    if (!this.#askingReceipt) {
      this.#askingReceipt = true;
      this.#options.loop.soon(() => {
        this.#askingReceipt = false;
        this.#options.notifyHub({ type: 'verify', receipt: ++this.#receiptsAsked });
      });
    }
    return this.#receiptsAsked + 1;
  }
}
