import type { IdText, Position } from '@pushcluster/protocol/frames.ts';
import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { ResumeFrom } from '../ipc/resume.ts';
import type { ChannelTask } from './channelTask.ts';
import { type BehindReason, type ChannelMember, Group } from './group.ts';

/** A JOIN that is still to be answered. */
export type PendingJoin = {
  /** Absent: nobody waits for an answer, and it is not refused. */
  id?: IdText | undefined;
  /** This JOIN made the connection a member. If it is refused, the membership ends. */
  added: boolean;
  /** The receipt of the bus that it waits for. It says that the bus was there after the JOIN. */
  receipt: number;
  /** When it came, or was asked for last, milliseconds of the loop's clock. */
  since: number;
  /** Of a room with history: what to ask the hub for once it is in force, or next. */
  from?: ResumeFrom | undefined;
  /** The number under which the hub was asked; undefined if it is to be asked. */
  ask?: number | undefined;
  /** OK was sent, and frames are still to follow. */
  isAnswered: boolean;
  /** When the client had all that there was, by the loop's clock; undefined if it did not say. */
  currentAt?: number | undefined;
};

/**
 * A room, a user or all connections, as this shard knows them: the members by wire form, and the tasks that go to them in
 * order. The channel's position counts the items of tasks that are done.
 */
export class Channel<M extends ChannelMember> {
  readonly key: ChannelKey;
  /** By index of the wire form. A group is made when its first member comes, since there is a channel for each user. */
  readonly groups: (Group<M> | undefined)[] = WIRE_FORMS.map(() => undefined);
  /** Items of all tasks that are done. */
  position = 0;
  /** Where tasks that are done, or answers to members, have come to in the room's history; undefined if that is not known. */
  place: Position | undefined;
  /** Tasks that wait. Made for the first: nothing waits in most of many small rooms. */
  #tasks: ChannelTask<M>[] | undefined = undefined;
  /** The task under way, and the index of the group that it has come to. */
  active: ChannelTask<M> | undefined;
  activeGroup = 0;
  /** Mask of the forms that the hub has confirmed: what is pushed in them arrives here. */
  subscribed = 0;
  /** JOINs that are answered once they are in force: at most one of each member. */
  pendingJoins: Map<M, PendingJoin> | undefined;
  /** Members that the hub was told of last (ipc/audience.ts). */
  audience = 0;
  /** Of the last `forms` message to the hub. Only the answer to that one counts. */
  generation = 0;

  constructor(key: ChannelKey) {
    this.key = key;
  }

  /** How many tasks wait. */
  get waiting(): number {
    return this.#tasks?.length ?? 0;
  }

  /** Lets a task wait behind those that do. */
  add(task: ChannelTask<M>): void {
    this.#tasks ??= [];
    this.#tasks.push(task);
  }

  group(form: Form): Group<M> {
    const index = formIndex(form);
    const group = this.groups[index] ?? new Group<M>();
    this.groups[index] = group;
    return group;
  }

  /** Mask of the forms that have a member. */
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

  /** The members now: a copy, since what is done to a member may remove it. */
  get members(): M[] {
    return this.groups.flatMap((group) => group?.members ?? []);
  }

  /** Whether it is known where its members are in the room's history, once all tasks are done. */
  get hasPlace(): boolean {
    const sets = (task: ChannelTask<M> | undefined) => task?.type === 'send' && task.place !== undefined;
    return this.place !== undefined || sets(this.active) || (this.#tasks?.some(sets) ?? false);
  }

  /** Items of this channel that were sent to `member`, or would have been if it were not behind. */
  positionOf(member: M): number {
    if (!this.active) return this.position;
    return this.#hasPassed(member) ? this.position + this.active.items : this.position;
  }

  /** Up to where `member` was sent every push of the room's history, or would have been if it were not behind. */
  #placeOf(member: M): Position | undefined {
    const place = this.active?.type === 'send' ? this.active.place : undefined;
    if (!place) return this.place;
    if (this.#hasPassed(member)) return { epoch: place.epoch, seq: place.seq };
    return this.place ?? { epoch: place.epoch, seq: place.prev };
  }

  /** Whether the task under way has come past the member. */
  #hasPassed(member: M): boolean {
    const group = this.group(member.connection.form);
    return member.index < group.cursor || member.index >= group.end;
  }

  /** From now on broadcasts skip the member. */
  fallBehind(member: M, reason: BehindReason): void {
    member.behind = { since: this.positionOf(member), reason, place: this.#placeOf(member) };
    this.group(member.connection.form).update(member);
  }

  /** The member was sent what it missed: broadcasts reach it again. */
  catchUp(member: M): void {
    member.behind = undefined;
    this.group(member.connection.form).update(member);
  }

  /** Begins a task, by default the next of those that wait, for everyone who is a member now. */
  begin(task = this.#tasks?.shift()): ChannelTask<M> | undefined {
    this.active = task;
    this.activeGroup = 0;
    for (const group of this.groups) {
      if (!group) continue;
      group.cursor = 0;
      group.end = this.active?.type === 'send' ? group.members.length : 0;
    }
    return this.active;
  }

  /** The task under way has reached everyone. */
  finish(): void {
    this.position += this.active?.items ?? 0;
    const place = this.active?.type === 'send' ? this.active.place : undefined;
    if (place) this.place = { epoch: place.epoch, seq: place.seq };
    this.active = undefined;
    for (const group of this.groups) {
      if (!group) continue;
      group.cursor = 0;
      group.end = 0;
    }
  }
}
