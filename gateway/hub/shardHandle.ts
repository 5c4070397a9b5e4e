import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { FrameBatch } from '../ipc/frame.ts';
import type { HubMessage } from '../ipc/messages.ts';
import type { ResumeAnswer } from '../ipc/resume.ts';

/**
 * A shard as the hub's rules see it: ShardProcess, and what stands in for it in tests. Order of what is sent is kept.
 */
export interface ShardHandle {
  /** 0 up to the number of shards. A shard that is replaced keeps its index. */
  readonly index: number;
  /** It accepts connections. */
  readonly listening: boolean;
  /** What it reported last; undefined before its first report. */
  readonly counts: ShardCounts | undefined;
  configure(settings: Settings): void;
  send(message: HubMessage): void;
  /** Sends a batch of `items` items. `ages`: when logic accepted them (milliseconds since the epoch), how many. */
  sendFrames(...batch: FrameBatch): void;
  /** Notifies the shard of items that will not come, in order with the frames. */
  sendMissed(key: ChannelKey, items: number, reason: LagReason): void;
  /** As much is on its way to it as may be. */
  readonly isFull: boolean;
  /** Answers the member's question of this number, in order with the frames. */
  sendResumed(key: ChannelKey, ask: number, answer: ResumeAnswer): void;
}
