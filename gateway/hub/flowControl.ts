import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { FrameBatch } from '../ipc/frame.ts';
import type { MessageStream } from '../ipc/messageStream.ts';
import { type HubMessage, missedSize, type ShardMessage } from '../ipc/messages.ts';
import { answerSize, type ResumeAnswer } from '../ipc/resume.ts';
import type { SlicedWork } from './slicedWork.ts';

export type FlowControlOptions = {
  stream: Pick<MessageStream<HubMessage, ShardMessage>, 'send' | 'sendFrame'>;
  /** Bytes that may be on their way: gateway.shardWatch.maxInFlight. */
  maxInFlight: () => number;
  /** `items` of a channel are left out, since more than maxInFlight is on its way. */
  overrun: (items: number) => void;
  work: Pick<SlicedWork, 'start'>;
};

/**
 * Bounds the frames on their way to one process of a shard. While too much is on its way, whole batches are left out
 * and counted by channel. Once half of it has arrived, the shard is notified of what was left out, channel after channel;
 * until then all that follows in such a channel is left out too, so that the notice is in its place.
 */
export class FlowControl {
  readonly #options: FlowControlOptions;
  #inFlight = 0;
  /** Items that were left out, by channel. */
  readonly #leftOut = new Map<ChannelKey, number>();
  #notifies = false;

  constructor(options: FlowControlOptions) {
    this.#options = options;
  }

  /** Bytes on their way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  sendFrames(...batch: FrameBatch): void {
    const [key, items] = batch;
    if (this.#leavesOut(key, items)) {
      this.#options.overrun(items);
      return;
    }
    this.#inFlight += this.#options.stream.sendFrame(...batch);
  }

  sendMissed(key: ChannelKey, items: number, reason: LagReason): void {
    if (!this.#leavesOut(key, items)) this.#notify(key, items, reason);
  }

  /** Nothing more is sent now. */
  get isFull(): boolean {
    return this.#inFlight > this.#options.maxInFlight();
  }

  /** Call it only if it isn't full. What was left out of the channel is told before: the answer has it. */
  sendResumed(key: ChannelKey, ask: number, answer: ResumeAnswer): void {
    const leftOut = this.#leftOut.get(key);
    if (leftOut !== undefined) {
      this.#leftOut.delete(key);
      this.#notify(key, leftOut, 'overload');
    }
    const size = answerSize(answer);
    this.#inFlight += size;
    this.#options.stream.send({ type: 'resumed', key, ask, answer, size });
  }

  /** The shard is done with so many bytes. */
  done(bytes: number): void {
    const { maxInFlight } = this.#options;
    this.#inFlight -= bytes;
    if (this.#notifies || this.#leftOut.size === 0 || this.#inFlight > maxInFlight() / 2) return;
    this.#notifies = true;
    this.#options.work.start(this.#due(), ([key, items]) => this.#notify(key, items, 'overload'));
  }

  /** The process is gone: nobody is to be notified. */
  close(): void {
    this.#leftOut.clear();
  }

  /** Takes out what was left out, as long as there is room for the notices. */
  *#due(): Generator<[ChannelKey, number]> {
    for (const [key, items] of this.#leftOut) {
      if (this.#inFlight > this.#options.maxInFlight()) break;
      this.#leftOut.delete(key);
      yield [key, items];
    }
    this.#notifies = false;
  }

  #leavesOut(key: ChannelKey, items: number): boolean {
    const before = this.#leftOut.get(key);
    if (before === undefined && !this.isFull) return false;
    this.#leftOut.set(key, (before ?? 0) + items);
    return true;
  }

  #notify(key: ChannelKey, items: number, reason: LagReason) {
    this.#inFlight += missedSize(key);
    this.#options.stream.send({ type: 'missed', key, items, reason });
  }
}
