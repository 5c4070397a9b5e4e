import { type ErrorCode, type IdText, okFrame, type Position, resetFrame } from '@pushcluster/protocol/frames.ts';
import { roomOf } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import { messageOf, type ResumeAnswer, type ResumeFrom } from '../ipc/resume.ts';
import type { Broadcaster } from './broadcaster.ts';
import type { Channel, PendingJoin } from './channel.ts';
import type { Connection, Member } from './connection.ts';
import type { Loop } from './loop.ts';
import type { Replies } from './replies.ts';
import { sendMissed } from './slowConsumerPolicy.ts';

/** A JOIN that is not in force after so long is refused, milliseconds: the client tries again, here or elsewhere. */
const JOIN_TIMEOUT_MS = 3_000;

/** The hub answers within 5 s. */
const RESUME_TIMEOUT_MS = 8_000;

export type PendingJoinsOptions = {
  loop: Loop;
  replies: Replies;
  notifyHub: (message: ShardMessage) => void;
  visit: Broadcaster['visitSlowly'];
  replayed: Broadcaster['replayed'];
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
  /** Questions to the hub so far, and who waits for the answer to each. */
  #asks = 0;
  readonly #asked = new Map<number, Member[]>();
  /** Those of this turn, by what was asked: whoever lacks the same shares the answer. */
  readonly #questions = new Map<string, number>();

  constructor(options: PendingJoinsOptions) {
    this.#options = options;
  }

  /**
   * @param id absent if nobody waits for an answer
   * @param added this JOIN made the connection a member
   * @param from what it asks for, if the room has a history: the member is behind until it was sent that
   */
  add(member: Member, id: IdText | undefined, added: boolean, from?: ResumeFrom): void {
    const { channel } = member;
    channel.pendingJoins ??= new Map();
    const now = this.#options.loop.now();
    const away = from?.type === 'join' ? from.away : undefined;
    const currentAt = away === undefined ? undefined : now - away;
    const receipt = this.#askReceipt();
    channel.pendingJoins.set(member, { id, added, receipt, since: now, from, isAnswered: false, currentAt });
    this.#channels.add(channel);
  }

  /** Answers the JOINs of a channel that are in force. */
  answer(channel: Channel<Member>): void {
    for (const [member, join] of channel.pendingJoins ?? []) {
      if (!this.#busConnected || join.receipt > this.#receipt) continue;
      if ((member.connection.form & channel.subscribed) === 0) continue;
      if (join.from) {
        if (join.ask === undefined && !join.isAnswered) this.#ask(member, join);
        continue;
      }
      channel.pendingJoins?.delete(member);
      this.#confirm(member, join);
    }
    this.#forgetIfDone(channel);
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

  /**
   * The hub's answer to members of a room with history.
   * @param channel undefined if nobody is in the room any more @param ask number of the question
   */
  resumed(channel: Channel<Member> | undefined, ask: number, answer: ResumeAnswer): void {
    const members = this.#asked.get(ask)?.filter((member) => member.channel === channel) ?? [];
    this.#asked.delete(ask);
    // Nobody else may wait for this answer: it may come in the turn in which it was asked for.
    this.#questions.clear();
    if (!channel) return;
    const messages = answer.type === 'resumed' ? answer.frames.map(messageOf) : [];
    // After what is on its way to the room already: the members have not got that, and the answer covers it.
    this.#options.visit(channel, members, (member) => {
      const join = channel.pendingJoins?.get(member);
      if (join?.ask !== ask || member.connection.gone) return;
      join.ask = undefined;
      this.#tell(member, join, answer, messages);
    });
  }

  /** The connection's buffer has drained: what did not fit follows. */
  drained(connection: Connection): void {
    for (const member of connection.members) {
      const join = member.channel.pendingJoins?.get(member);
      if (join?.isAnswered && join.ask === undefined) this.#ask(member, join);
      else if (!join && !connection.lagging && member.behind?.place)
        this.#resume(member, member.behind.place, connection.waitingSince);
    }
  }

  /**
   * Frames of a room with history were left out: the member is sent what was in them, as after a JOIN. Call it in their
   * place among the frames.
   * @param place of the frames before them
   */
  leftOut(member: Member, place: Position): void {
    const { channel } = member;
    // One that is behind is sent that with all else that it lacks.
    if (member.behind || channel.pendingJoins?.has(member)) return;
    channel.fallBehind(member, 'resuming');
    this.#resume(member, place);
  }

  /** Refuses the JOINs that have waited too long. */
  refuseOverdue(): void {
    const now = this.#options.loop.now();
    for (const channel of this.#channels) {
      for (const [member, join] of channel.pendingJoins ?? []) {
        if (join.isAnswered && join.ask === undefined) {
          // It waits for its client to read, or the store was away.
          if (member.connection.waiting === 0) this.#ask(member, join);
          continue;
        }
        if (join.since > now - (join.ask === undefined ? JOIN_TIMEOUT_MS : RESUME_TIMEOUT_MS)) continue;
        if (join.isAnswered) {
          // The hub's answer is lost only with the hub. It is asked again.
          join.ask = undefined;
          continue;
        }
        this.#refuse(member, join);
      }
      this.answer(channel);
    }
  }

  /**
   * What a member of a room with history missed follows, as after a JOIN.
   * @param currentAt when it had all that there was, by the loop's clock, if that is known
   */
  #resume(member: Member, after: Position, currentAt?: number) {
    const { channel } = member;
    const { loop } = this.#options;
    const join: PendingJoin = {
      ...{ added: false, receipt: 0, since: loop.now(), isAnswered: true },
      from: { type: 'next', after },
      currentAt,
    };
    channel.pendingJoins ??= new Map();
    channel.pendingJoins.set(member, join);
    this.#channels.add(channel);
    this.#ask(member, join);
  }

  #ask(member: Member, join: PendingJoin) {
    const { loop, notifyHub } = this.#options;
    if (!join.from) return;
    join.since = loop.now();
    const from: ResumeFrom =
      join.from.type === 'next' && join.currentAt !== undefined
        ? { ...join.from, away: loop.now() - join.currentAt }
        : join.from;
    const { key } = member.channel;
    const { form } = member.connection;
    // The hub counts JOINs one by one.
    const question = from.type === 'join' ? undefined : JSON.stringify([key, form, from]);
    const known = question === undefined ? undefined : this.#questions.get(question);
    join.ask = known ?? ++this.#asks;
    if (known !== undefined) {
      this.#asked.get(known)!.push(member);
      return;
    }
    this.#asked.set(join.ask, [member]);
    if (question !== undefined) this.#share(question, join.ask);
    notifyHub({ type: 'resume', key, ask: join.ask, form, from });
  }

  /** Who asks the same in this turn waits for the same answer. */
  #share(question: string, ask: number) {
    if (this.#questions.size === 0) this.#options.loop.soon(() => this.#questions.clear());
    this.#questions.set(question, ask);
  }

  /** @param messages the answer's frames, as they are sent */
  #tell(member: Member, join: PendingJoin, answer: ResumeAnswer, messages: readonly (string | Uint8Array)[]) {
    const { replies, replayed } = this.#options;
    const { connection, channel } = member;
    // What is on its way to it already is asked for again.
    if (answer.type === 'unavailable') return join.isAnswered ? undefined : this.#refuse(member, join);
    const room = roomOf(channel.key);
    if (answer.type === 'none') {
      channel.place = undefined;
      if (isWaitedFor(join)) this.#confirm(member, join);
      else sendMissed(member);
      this.#finish(member);
      return;
    }
    const { place, recovered, frames, isAll, replayTo } = answer;
    channel.place = place;
    if (isWaitedFor(join)) this.#confirm(member, join, { ...place, recovered, replayTo });
    else if (recovered === false && connection.v1) replies.send(connection, resetFrame(room ?? '', place));
    let left = frames.length;
    for (const [index, frame] of frames.entries()) {
      if (connection.gone) return;
      const message = messages[index]!;
      if (replies.send(connection, message)) replayed(Buffer.byteLength(message), frame.items);
      join.from = { type: 'next', after: { epoch: place.epoch, seq: frame.seq } };
      left--;
      // What the client has not read takes memory: the rest once it has.
      if (connection.waiting > 0) break;
    }
    if (left === 0 && isAll) return this.#finish(member);
    join.isAnswered = true;
    if (connection.waiting === 0) this.#ask(member, join);
  }

  #confirm({ connection, channel }: Member, { id }: PendingJoin, place?: Parameters<typeof okFrame>[2]) {
    if (id !== undefined) this.#options.replies.send(connection, okFrame(id, roomOf(channel.key), place));
  }

  /** Broadcasts reach the member from now on. */
  #finish(member: Member) {
    const { channel, connection } = member;
    channel.pendingJoins?.delete(member);
    if (connection.lagging) channel.fallBehind(member, 'slow');
    else channel.catchUp(member);
    this.#forgetIfDone(channel);
  }

  /** No JOIN of the channel waits any more. */
  #forgetIfDone(channel: Channel<Member>) {
    if (channel.pendingJoins?.size) return;
    channel.pendingJoins = undefined;
    this.#channels.delete(channel);
  }

  /** The member leaves the room again, unless it was in it before. */
  #refuse(member: Member, join: PendingJoin) {
    const { replies, leave } = this.#options;
    const { channel, connection } = member;
    if (join.id === undefined) {
      // Nobody could be told: it is asked for again.
      join.isAnswered = true;
      return;
    }
    channel.pendingJoins?.delete(member);
    if (join.from && !join.added) this.#finish(member);
    else if (join.added) leave(connection, member, 'unavailable', '');
    replies.refuse(connection, join.id, 'unavailable', "the bus cannot deliver the room's items at the moment");
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

/** The client waits for OK or ERROR. */
export function isWaitedFor({ id, isAnswered }: PendingJoin): boolean {
  return id !== undefined && !isAnswered;
}
