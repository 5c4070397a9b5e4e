import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Member } from './channel.ts';

/** Bytes for one group of a channel. */
export type Wave = { bytes: Uint8Array; binary: boolean };

/** What a channel's members get or what is done to them, in the order in which the hub said so. */
export type Job = Sending | Visit;

/** What goes to all members of a channel: a frame in each form that has members, or the news that items were missed. */
export type Sending = {
  type: 'send';
  /** Items that the members' position moves on by. */
  items: number;
  /** By index of the wire form, as the channel's groups are; a group without a wave gets nothing. */
  waves: readonly (Wave | undefined)[];
  /** When logic accepted the items: time (milliseconds since the epoch), how many. */
  ages: readonly [at: number, items: number][];
  /** Set where the items will never come: the waves tell so. */
  missed?: LagReason;
  /** Bytes to report as done; 0 where nothing is owed. */
  size: number;
};

/** What is done to each of those who were there when it was said: who comes meanwhile is not among them. */
export type Visit = {
  type: 'visit';
  items: 0;
  members: readonly Member[];
  /** How many are done with. */
  visited: number;
  /** May remove the member, from any channel. Must bear one that has gone meanwhile. */
  visit: (member: Member) => void;
  /** Called when all are done with. */
  done: () => void;
};
