import { decodePush } from '@pushcluster/protocol/push.ts';
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

export type ChannelInletOptions = {
  heartbeats: PublisherHeartbeats;
  retries: RepeatedPushes;
  merger: Merger;
  ignored: IgnoredMessages;
  metrics: Pick<GatewayMetrics, 'gaps'>;
  log: Logger;
};

/**
 * The inlet of a room, or of all: finds losses by the publishers' counters, drops repeats, and passes on what is left.
 */
export class ChannelInlet implements Inlet {
  readonly #channel: HubChannel;
  readonly #options: ChannelInletOptions;
  readonly #publishers: PublisherCounters;

  constructor(channel: HubChannel, options: ChannelInletOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#publishers = new PublisherCounters(options.heartbeats);
  }

  accept(bytes: Uint8Array): void {
    const { ignored, retries, merger } = this.#options;
    const push = ignored.decode(bytes, decodePush);
    if (!push) return;
    const count = push.items.lengths.length;
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

  subscribed(): void {
    this.#publishers.inForce();
  }

  close(): void {
    this.#publishers.close();
  }

  #lost(items: number) {
    const { metrics, log, merger } = this.#options;
    metrics.gaps.inc(items);
    log.warn({ channel: this.#channel.room ?? 'all', items }, 'items were lost on the bus');
    merger.lose(this.#channel, items);
  }
}
