import type { Position } from '@pushcluster/protocol/frames.ts';
import type { Form } from '@pushcluster/protocol/wireForms.ts';
import type { Socket } from './engine.ts';

/** Why a member is behind. `slow`: its socket's buffer was full. `resuming`: what it missed before is yet to be sent. */
export type BehindReason = 'slow' | 'resuming';

/**
 * A member that is behind is skipped: it gets nothing of its channel until it was sent how many items it missed. These are the
 * items by which the channel's position has moved on since then.
 */
export type Behind = {
  /** The channel's position up to which the member was sent every item, or the news that items were missed. */
  since: number;
  readonly reason: BehindReason;
  /** In a room with history, up to where the member was sent every push, if that is known. */
  readonly place?: Position | undefined;
};

/** A connection's place in a channel, as group and channel see it. */
export interface ChannelMember {
  readonly connection: { readonly form: Form; readonly ws: Socket };
  /** Where it stands in its group. The group's own. */
  index: number;
  /** Undefined while it keeps up. */
  behind: Behind | undefined;
}

/**
 * The members of a channel that get the same bytes. While a task is under way the group has three parts: `[0, cursor)` has
 * got it, `[cursor, end)` has not, and `[end, length)` joined after it began and does not get it. `add` and `remove` keep the
 * three apart. Example: of members `a b | c d | e` (cursor 2, end 4) `a` is removed. `b` takes its place, `d` that of `b`
 * behind the cursor, and `e` that of `d`: `b | d c | e` with cursor 1 and end 3.
 */
export class Group<M extends ChannelMember> {
  members: M[] = [];
  /** The members' sockets, at the same places: what a broadcast walks. Undefined for members that are behind. */
  sockets: (Socket | undefined)[] = [];
  cursor = 0;
  end = 0;

  add(member: M): void {
    member.index = this.members.length;
    const socket = member.behind ? undefined : member.connection.ws;
    if (this.members.length === 0) {
      // Arrays that grow have room for 17, which most rooms of a gateway with many never need.
      this.members = [member];
      this.sockets = [socket];
      return;
    }
    this.members.push(member);
    this.sockets.push(socket);
  }

  /** Broadcasts skip the member if it is behind, and otherwise reach it. Call this when that has changed. */
  update(member: M): void {
    this.sockets[member.index] = member.behind ? undefined : member.connection.ws;
  }

  remove(member: M): void {
    const { members } = this;
    let hole = member.index;
    if (hole < this.cursor) hole = this.#fill(hole, --this.cursor);
    if (hole < this.end) hole = this.#fill(hole, --this.end);
    this.#fill(hole, members.length - 1);
    members.pop();
    this.sockets.pop();
  }

  /** Moves the member at `from` into the hole. Returns where the hole is then. */
  #fill(hole: number, from: number): number {
    // The hole still holds a member that was moved out of it, which must not be given this place again.
    if (hole === from) return from;
    const moved = this.members[from]!;
    this.members[hole] = moved;
    this.sockets[hole] = this.sockets[from];
    moved.index = hole;
    return from;
  }
}
