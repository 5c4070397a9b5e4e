import type { Answer, Question } from '@pushcluster/protocol/control.ts';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { ChannelKey } from './channelKey.ts';
import type { ShardCounts } from './counts.ts';
import type { MoveReason, MoveTime } from './move.ts';
import type { Resource } from './resource.ts';

/**
 * The messages between hub and shard, but for batches (frame.ts). One socket pair carries both (messageStream.ts) and
 * keeps their order, which the rules of both ends rely on. Both ends are of the same build and trust each other.
 */

export type HubMessage =
  /** The first message, and again at each live change. */
  | { type: 'settings'; shard: number; settings: Settings; shards: number }
  /** Answers the `forms` of this generation: the hub now encodes these forms, and the bus knows of the subscription. */
  | { type: 'subscribed'; key: ChannelKey; mask: number; generation: number }
  /** The bus refuses the room's subscription, which is no longer in force: what is pushed now does not come. */
  | { type: 'subscriptionRefused'; key: ChannelKey }
  /** The bus has gone away, or has come back with all subscriptions but those that it refuses. */
  | { type: 'bus'; connected: boolean }
  /** The bus was there after the `verify` with this receipt had come. */
  | { type: 'verified'; receipt: number }
  /** Items that will not come, in order with the frames. It is a frame to everyone as well: `missedSize` bytes on their way. */
  | { type: 'missed'; key: ChannelKey; items: number; reason: LagReason }
  | { type: 'admitted'; ask: number; refused: boolean }
  /** Connections that this shard may hold. Its counts say which generation is in force. */
  | { type: 'allowance'; connections: number; generation: number }
  /** What the hub found short, when that changes: the loop's refuses everyone, memory is why an allowance is small. */
  | { type: 'short'; resource: Resource | undefined }
  | { type: 'disconnectUser'; user: string; reason: string }
  | { type: 'disconnectRoom'; room: string; reason: string }
  /** A newer session of the user was opened elsewhere: close those here up to number `upTo`, and those without a number. */
  | { type: 'replaced'; user: string; upTo: number }
  | { type: 'ask'; question: Question }
  | { type: 'stopListening' }
  /** Counts every 100 ms, or as seldom as ever. */
  | { type: 'reportOften'; on: boolean }
  /** Ask or make `count` connections to leave. */
  | { type: 'move'; count: number; time: MoveTime; reason: Exclude<MoveReason, 'rebalance'> }
  /** From now on only who is there now may be moved by `moveOldest`; off: anyone. */
  | { type: 'mark'; on: boolean }
  /** Ask `count` connections to go elsewhere, those that came first; who can't stays. `others`: also by close code. */
  | { type: 'moveOldest'; count: number; time: MoveTime; others: boolean }
  | { type: 'exit' };

export type ShardMessage =
  | { type: 'listening' }
  | { type: 'failed'; message: string }
  /**
   * Which wire forms have a listener on the channel; 0: none any more. The shard gives each of these messages a new
   * generation, and heeds only the answer to its last one: the others were sent before the hub read of the change.
   */
  | { type: 'forms'; key: ChannelKey; mask: number; generation: number }
  /** Asks whether the bus is there now: answered by `verified` with the same receipt, or not at all. Receipts rise. */
  | { type: 'verify'; receipt: number }
  /** Bytes of frames that are done with. */
  | { type: 'done'; bytes: number }
  | { type: 'counts'; counts: ShardCounts }
  | { type: 'answer'; answer: ShardAnswer }
  | { type: 'admit'; ask: number; ip: string }
  | { type: 'left'; ip: string }
  /** A session of this user was opened, the shard's `session`th, `at` by systemClock.now() (only where one per user is set). */
  | { type: 'session'; user: string; session: number; at: number };

export type ShardAnswer =
  | Omit<Extract<Answer, { type: 'rooms' }>, 'gateway'>
  | Omit<Extract<Answer, { type: 'room' | 'user' }>, 'gateway'>;

/** What a `missed` message takes beside its channel's name, about. */
const MISSED_BYTES = 128;

/** Bytes to report as done for the news of missed items. */
export function missedSize(key: ChannelKey): number {
  return MISSED_BYTES + key.length;
}
