import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { FramePlace } from '../ipc/frame.ts';

/** What one group of a channel gets. */
export type FrameBytes = { bytes: Uint8Array; binary: boolean };

/** What a channel's members get or what is done to them, in the order in which the hub sent it. */
export type ChannelTask<M> = SendTask | VisitTask<M>;

/** What goes to all members of a channel: a batch as a frame in each form that has members, or the news that items were missed. */
export type SendTask = {
  type: 'send';
  /** Items by which the members' position moves on. */
  items: number;
  /** By index of the wire form, as the channel's groups are. A group without a frame gets nothing. */
  frames: readonly (FrameBytes | undefined)[];
  /** When logic accepted the items: time (milliseconds since the epoch), how many. */
  ages: readonly [at: number, items: number][];
  /** Where the items are in the room's history, if it has one. */
  place?: FramePlace | undefined;
  /** Set if the items will never come. The frames then say so. */
  missed?: LagReason;
  /** Bytes to report to the hub as done; 0: none. */
  size: number;
};

/** What is done to each of those who were members when it was ordered. Those who join meanwhile are not among them. */
export type VisitTask<M> = {
  type: 'visit';
  items: 0;
  members: readonly M[];
  /** How many are done with. */
  visited: number;
  /** Visits between two readings of the clock. */
  stride: number;
  /** May remove the member, from any channel. Must expect a member that is gone already. */
  visit: (member: M) => void;
  /** Called when all are done with. */
  done: () => void;
};
