import type { IdText } from '@pushcluster/protocol/frames.ts';
import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { Socket } from './engine.ts';
import type { Job } from './job.ts';
import type { Session } from './session.ts';

/** A session's place in a channel. Small: there is one for each connection and room. */
export class Member {
  /** Set by its maker at once; a session is its own membership in `all`. */
  session!: Session;
  readonly channel: Channel;
  /** Where it stands in its group. */
  index = 0;
  /** The channel's position when the session's first drop was seen; -1 while it keeps up. */
  noted = -1;

  constructor(channel: Channel) {
    this.channel = channel;
  }
}

/**
 * The members of a channel that get the same bytes. While a job is under way, `[0, cursor)` has got it, `[cursor, end)`
 * has not, and `[end, length)` joined after it began and does not get it: add and remove keep the three apart.
 */
export class Group {
  readonly members: Member[] = [];
  /** The members' sockets, at the same places: what a broadcast walks. Undefined for those that lag. */
  readonly sockets: (Socket | undefined)[] = [];
  cursor = 0;
  end = 0;

  add(member: Member): void {
    member.index = this.members.length;
    this.members.push(member);
    this.sockets.push(member.session.lagging ? undefined : member.session.ws);
  }

  /** A broadcast skips the member, or reaches it again. */
  mute(member: Member, muted: boolean): void {
    this.sockets[member.index] = muted ? undefined : member.session.ws;
  }

  remove(member: Member): void {
    const { members } = this;
    let hole = member.index;
    if (hole < this.cursor) hole = this.#fill(hole, --this.cursor);
    if (hole < this.end) hole = this.#fill(hole, --this.end);
    this.#fill(hole, members.length - 1);
    members.pop();
    this.sockets.pop();
  }

  /** Moves the member at `from` into the hole; the hole is then there. */
  #fill(hole: number, from: number): number {
    // The hole still holds a member that was moved out of it: it must not be given this place again.
    if (hole === from) return from;
    const moved = this.members[from]!;
    this.members[hole] = moved;
    this.sockets[hole] = this.sockets[from];
    moved.index = hole;
    return from;
  }
}

/** A JOIN that is to be answered. */
export type Join = {
  id: IdText;
  /** It made the connection a member: where it is refused, that ends. */
  added: boolean;
  /** The receipt of the bus that it waits for: by it the bus was there after the JOIN. */
  receipt: number;
  /** When it came, milliseconds of the loop's clock. */
  since: number;
};

/** One room, user, or all, as this shard has it: its members by wire form, and the jobs on their way to them. */
export class Channel {
  readonly key: ChannelKey;
  /** By index of the wire form. A group is made when its first member comes, since there is a channel for each user. */
  readonly groups: (Group | undefined)[] = WIRE_FORMS.map(() => undefined);
  /** Items of all jobs that are done. */
  position = 0;
  jobs: Job[] = [];
  /** The job under way, and which group it has come to. */
  active: Job | undefined;
  activeGroup = 0;
  /** Forms that the hub has confirmed. */
  opened = 0;
  /** Members whose JOIN is answered once it is in force: at most one of each. */
  waiting: Map<Member, Join> | undefined;
  /** Of the last word to the hub on forms; only the answer to that one counts. */
  turn = 0;

  constructor(key: ChannelKey) {
    this.key = key;
  }

  group(form: Form): Group {
    const index = formIndex(form);
    const group = this.groups[index] ?? new Group();
    this.groups[index] = group;
    return group;
  }

  /** Forms that have a member. */
  get mask(): number {
    const { groups } = this;
    let mask = 0;
    for (let index = 0; index < groups.length; index++) if (groups[index]?.members.length) mask |= 1 << index;
    return mask;
  }

  get size(): number {
    let size = 0;
    for (const group of this.groups) size += group?.members.length ?? 0;
    return size;
  }

  /** Everyone now: a copy, since what is done to a member may remove it. */
  get all(): Member[] {
    return this.groups.flatMap((group) => group?.members ?? []);
  }

  get sessions(): Session[] {
    return this.all.map(({ session }) => session);
  }

  /** Items of this channel that have been offered to `member` or passed it by. */
  positionOf(member: Member): number {
    if (!this.active) return this.position;
    const group = this.group(member.session.form);
    const passed = member.index < group.cursor || member.index >= group.end;
    return passed ? this.position + this.active.items : this.position;
  }

  /** Takes the next job, for everyone who is a member now. */
  begin(): Job | undefined {
    this.active = this.jobs.shift();
    this.activeGroup = 0;
    for (const group of this.groups) {
      if (!group) continue;
      group.cursor = 0;
      group.end = this.active?.type === 'send' ? group.members.length : 0;
    }
    return this.active;
  }

  /** The job under way has reached everyone. */
  finish(): void {
    this.position += this.active?.items ?? 0;
    this.active = undefined;
    for (const group of this.groups) {
      if (!group) continue;
      group.cursor = 0;
      group.end = 0;
    }
  }
}
