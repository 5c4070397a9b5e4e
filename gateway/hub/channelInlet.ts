import { decodePush, type Push } from '@pushcluster/protocol/push.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { HubChannel } from './hubChannel.ts';
import type { IgnoredMessages } from './ignoredMessages.ts';
import type { Inlet } from './inlet.ts';
import type { Merger } from './merger.ts';
import { partOf } from './messagePart.ts';
import { PublisherCounters } from './publisherCounters.ts';
import type { PublisherHeartbeats } from './publisherHeartbeats.ts';
import type { RepeatedPushes } from './repeatedPushes.ts';
import { Resequencer, type ResequencerOptions } from './resequencer.ts';

export type ChannelInletOptions = ResequencerOptions & {
  heartbeats: PublisherHeartbeats;
  retries: RepeatedPushes;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'gaps' | 'late'>;
  log: Logger;
};

/**
 * The inlet of a room, or of all: puts messages in order and finds losses by the publishers' counters, drops repeats, and
 * passes on what is left.
 */
export class ChannelInlet implements Inlet {
  readonly #channel: HubChannel;
  readonly #options: ChannelInletOptions;
  readonly #publishers: PublisherCounters;
  readonly #resequencer: Resequencer<Push>;

  constructor(channel: HubChannel, options: ChannelInletOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#publishers = new PublisherCounters(options.heartbeats);
    this.#resequencer = new Resequencer(this.#publishers, options, (push, count) => this.#take(push, count));
  }

  accept(bytes: Uint8Array): void {
    const push = this.#options.ignored.decode(bytes, decodePush);
    if (push) this.#resequencer.receive(push, push.items.lengths.length, bytes.length);
  }

  subscribed(): void {
    this.#publishers.inForce();
  }

  close(): void {
    this.#resequencer.close();
    this.#publishers.close();
  }

  #take(push: Push, count: number): void {
    const { retries, merger } = this.#options;
    const { gap, repeats } = this.#publishers.accept(push, count);
    if (gap > 0) this.#lost(gap);
    if (repeats === count) return;
    if (retries.repeated(this.#channel.key, push.id)) {
      this.#publishers.skip(push.publisher, push.counter + repeats, count - repeats);
      return;
    }
    const skipped = this.#publishers.takeSkipped(push.publisher);
    merger.merge(this.#channel, partOf(push, push.items, repeats, skipped), push.urgent);
  }

  #lost(items: number) {
    const { metrics, log, merger } = this.#options;
    metrics.gaps.inc(items);
    log.warn({ channel: this.#channel.room ?? 'all', items }, 'items were lost on the bus');
    merger.lose(this.#channel, items);
  }
}
