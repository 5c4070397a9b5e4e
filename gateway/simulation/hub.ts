import type { LagReason } from '@pushcluster/protocol/frames.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import type { ShardHandle } from '../hub/shardHandle.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import { newCounts, type ShardCounts } from '../ipc/counts.ts';
import type { Frame, FrameBatch } from '../ipc/frame.ts';
import type { HubMessage } from '../ipc/messages.ts';
import type { ResumeAnswer } from '../ipc/resume.ts';

export type SentFrames = {
  key: ChannelKey;
  items: number;
  ages: readonly [number, number][];
  frames: readonly Frame[];
};

/** A shard as the hub sees it, which keeps what is sent to it. */
export class FakeShard implements ShardHandle {
  readonly index: number;
  listening = true;
  counts: ShardCounts | undefined = newCounts();
  readonly messages: HubMessage[] = [];
  readonly batches: SentFrames[] = [];
  readonly missed: { key: ChannelKey; items: number; reason: LagReason }[] = [];
  readonly configured: Settings[] = [];
  /** Frames and notices of missed items, in the order in which they were sent. */
  readonly order: ('frames' | 'missed')[] = [];
  /** Called at each batch. */
  onFrames: () => void = () => {};

  constructor(index: number) {
    this.index = index;
  }

  configure(settings: Settings): void {
    this.configured.push(settings);
  }

  send(message: HubMessage): void {
    this.messages.push(message);
  }

  sendFrames(...[key, items, ages, frames, place]: FrameBatch): void {
    this.onFrames();
    this.batches.push({ key, items, ages, frames, ...(place && { place }) });
    this.order.push('frames');
  }

  sendMissed(key: ChannelKey, items: number, reason: LagReason): void {
    this.missed.push({ key, items, reason });
    this.order.push('missed');
  }

  readonly isFull = false;

  sendResumed(key: ChannelKey, ask: number, answer: ResumeAnswer): void {
    this.messages.push({ type: 'resumed', key, ask, answer, size: 0 });
  }

  /** The messages of one type. */
  messagesOf<T extends HubMessage['type']>(type: T): Extract<HubMessage, { type: T }>[] {
    return this.messages.filter((message): message is Extract<HubMessage, { type: T }> => message.type === type);
  }
}

/** The settings of a file, with defaults for the rest. */
export function settingsWith(input: object = {}): Settings {
  return Settings.parse(input);
}
