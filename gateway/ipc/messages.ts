import type { Answer, Question } from '@pushcluster/protocol/control.ts';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Form } from '@pushcluster/protocol/wireForms.ts';
import type { ChannelKey } from './channelKey.ts';
import type { ShardCounts } from './counts.ts';
import type { MoveReason, MoveTime } from './move.ts';
import type { Resource } from './resource.ts';
import type { ResumeAnswer, ResumeFrom } from './resume.ts';

/**
 * The messages between hub and shard, but for batches (frame.ts). One socket pair carries both (messageStream.ts) and
 * keeps their order, which the rules of both ends rely on. Both ends are of the same build and trust each other.
 */

export type HubMessage =
  /** The first message, and sent again at each live change of settings. */
  | { type: 'settings'; shard: number; settings: Settings; shards: number }
  /** Answers the `forms` of this generation: the hub now encodes these forms, and the bus knows of the subscription. */
  | { type: 'subscribed'; key: ChannelKey; mask: number; generation: number }
  /** The bus refuses the room's subscription, which is no longer in force: what is pushed now does not come. */
  | { type: 'subscriptionRefused'; key: ChannelKey }
  /** The bus is unavailable, or available again with all subscriptions but those that it refuses. */
  | { type: 'bus'; connected: boolean }
  /** The bus was there after the `verify` with this receipt had come. */
  | { type: 'verified'; receipt: number }
  /**
   * Items that will not come, in order with the frames: the channel's position at the shard moves on by them too.
   * Clients get a LAGGED for it, so it counts as `missedSize` bytes on their way. In a room with history, members ask for
   * what was left out because the gateway was too busy (`overload`).
   */
  | { type: 'missed'; key: ChannelKey; items: number; reason: LagReason }
  /** Answers the `resume` of this number, in order with the room's frames. */
  | { type: 'resumed'; key: ChannelKey; ask: number; answer: ResumeAnswer; size: number }
  | { type: 'admitted'; ask: number; refused: boolean }
  /** Connections that this shard may hold. Its counts say which generation is in force. */
  | { type: 'allowance'; connections: number; generation: number }
  /** What the hub found short, when that changes: the loop's refuses everyone, memory is why an allowance is small. */
  | { type: 'short'; resource: Resource | undefined }
  | { type: 'disconnectUser'; user: string; reason: string }
  | { type: 'disconnectRoom'; room: string; reason: string }
  /**
   * A newer session of the user was opened elsewhere: close those here up to number `upTo`, and those without a
   * number.
   */
  | { type: 'replaced'; user: string; upTo: number }
  | { type: 'ask'; question: Question }
  | { type: 'stopListening' }
  /** Report counts every 100 ms, or at the usual interval again. */
  | { type: 'reportOften'; on: boolean }
  /** Ask or make `count` connections to leave. */
  | { type: 'move'; count: number; time: MoveTime; reason: Exclude<MoveReason, 'rebalance'> }
  /** On: from now on `moveOldest` may move only connections that are open now. Off: any. */
  | { type: 'mark'; on: boolean }
  /** Ask the `count` oldest v1 connections to move. `others`: also close connections that can't be asked. */
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
  /** How many members the channel has, if that is many (audience.ts); 0: few. */
  | { type: 'audience'; key: ChannelKey; members: number }
  /** Asks whether the bus is there now: answered by `verified` with the same receipt, or not at all. Receipts rise. */
  | { type: 'verify'; receipt: number }
  /** A member of a room with history asks for what it missed. Numbers rise; each is answered. */
  | { type: 'resume'; key: ChannelKey; ask: number; form: Form; from: ResumeFrom }
  /** So many bytes of frames were handled: they are no longer on their way. */
  | { type: 'done'; bytes: number }
  | { type: 'counts'; counts: ShardCounts }
  | { type: 'answer'; answer: ShardAnswer }
  | { type: 'admit'; ask: number; ip: string }
  | { type: 'left'; ip: string }
  /**
   * The shard opened its session number `session`, `at` by systemClock.now(). Sent only if a user may have one
   * session.
   */
  | { type: 'session'; user: string; session: number; at: number };

export type ShardAnswer =
  | Omit<Extract<Answer, { type: 'rooms' }>, 'gateway'>
  | Omit<Extract<Answer, { type: 'room' | 'user' }>, 'gateway'>;

/** Bytes of a `missed` message beside its channel's name, about. */
const MISSED_BYTES = 128;

/** Bytes of a `missed` message for flow control. */
export function missedSize(key: ChannelKey): number {
  return MISSED_BYTES + key.length;
}
